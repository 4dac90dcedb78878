"""Header fields: an ordered, case-insensitive, case-preserving multi-map over byte pairs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from interceptor.model.multiviews import MultiViews, put_values

Field = tuple[bytes, bytes]
"""One field line: its name in the case it came in, and its value without outer white space."""

# RFC 9110 section 5.6.2: a field name is a token.
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# RFC 9110 section 5.5: these are dangerous in a value, because other programs end the line there.
_FORBIDDEN_IN_VALUE = re.compile(rb"[\r\n\x00]")


def _to_bytes(text: str | bytes) -> bytes:
    if isinstance(text, str):
        return text.encode("utf-8", "surrogateescape")
    if isinstance(text, bytes):
        return text
    raise TypeError(f"a header field needs str or bytes, not {type(text).__name__}: {text!r}")


def _to_str(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def check_name(name: str | bytes) -> bytes:
    """Return a field name as bytes.

    Raises ``ValueError`` unless it is a token (RFC 9110 section 5.6.2).
    """
    data = _to_bytes(name)
    if _NAME.fullmatch(data) is None:
        raise ValueError(
            f"header name {data!r} must be made of letters, digits and !#$%&'*+-.^_`|~ only"
        )
    return data


def check_value(name: str | bytes, value: str | bytes) -> bytes:
    """Return a field value as bytes.

    Raises ``ValueError`` when it holds CR, LF or NUL, which would end the field line early
    (RFC 9110 section 5.5). ``name`` is for the error's text.
    """
    data = _to_bytes(value)
    if _FORBIDDEN_IN_VALUE.search(data) is not None:
        raise ValueError(f"value of header {name!r} must not contain CR, LF or NUL: {data!r}")
    return data


class Headers(MultiViews[str, str]):
    """Header fields in the order, case and bytes in which they came.

    As a mapping it is text: names in any case, values decoded as UTF-8 with ``surrogateescape``, so
    that every byte survives. Several fields of one name read as one value joined by ``", "``
    (``"; "`` for Cookie); assigning replaces them all by one. Names and values may be given as str
    or bytes.

    ``fields`` is the same as a tuple of (name, value) byte pairs; assigning to it replaces all.
    Values that came from the wire are not judged here; what is set through this API is: CR, LF and
    NUL in a value, and a new name that is no token, raise ``ValueError``.
    """

    __slots__ = ("_fields", "_raw")

    _fields: tuple[Field, ...]
    _raw: bytes | None

    def __init__(
        self,
        fields: Iterable[tuple[str | bytes, str | bytes]] | Mapping[Any, Any] = (),
        **headers: str | bytes,
    ) -> None:
        """Make headers from pairs or a mapping; underscores in ``headers`` stand for hyphens."""
        if isinstance(fields, Headers):
            self._fields = fields._fields
        else:
            pairs = fields.items() if isinstance(fields, Mapping) else fields
            self._fields = tuple(
                [(check_name(name), check_value(name, value)) for name, value in pairs]
            )
        self._raw = None
        for name, value in headers.items():
            self[name.replace("_", "-")] = value

    @classmethod
    def from_wire(cls, fields: tuple[Field, ...], raw: bytes | None) -> Headers:
        """Make headers from parsed fields, unchecked and uncopied.

        ``raw`` is the field block as received: line i, with its CRLF, is field i, and the empty
        line that ends the block is not part of it. None when there is no such block.
        """
        self = cls.__new__(cls)
        self._fields = fields
        self._raw = raw
        return self

    @property
    def raw(self) -> bytes | None:
        """The field block exactly as received, or None once anything was changed."""
        return self._raw

    @property
    def fields(self) -> tuple[Field, ...]:
        """All fields in order, as (name, value) byte pairs."""
        return self._fields

    @fields.setter
    def fields(self, fields: Iterable[tuple[str | bytes, str | bytes]]) -> None:
        # Fields of a faulty peer may be among them, so bytes are taken as they are; text is ours.
        self._fields = tuple(
            (
                name if isinstance(name, bytes) else check_name(name),
                value if isinstance(value, bytes) else check_value(name, value),
            )
            for name, value in fields
        )
        self._raw = None

    # Reading

    def get_bytes(self, lower_name: bytes) -> bytes | None:
        """Return the first value of a field as bytes; the name must be given in lower case."""
        length = len(lower_name)
        for name, value in self._fields:
            # Comparing lengths first spares most of the copies that lower() makes.
            if len(name) == length and name.lower() == lower_name:
                return value
        return None

    def get_all(self, name: str | bytes) -> list[str]:
        """Return the values of every field of that name, in order; an empty list if none."""
        wanted = _to_bytes(name).lower()
        return [_to_str(value) for field, value in self._fields if field.lower() == wanted]

    def __getitem__(self, name: str | bytes) -> str:
        values = self.get_all(name)
        if not values:
            raise KeyError(name)
        if len(values) == 1:
            return values[0]
        # RFC 9113 section 8.2.3: HTTP/2 may have a cookie in several pieces.
        return ("; " if _to_bytes(name).lower() == b"cookie" else ", ").join(values)

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, (str, bytes)):
            return False
        return self.get_bytes(_to_bytes(name).lower()) is not None

    def __iter__(self) -> Iterator[str]:
        seen = set()
        for name, _ in self._fields:
            folded = name.lower()
            if folded not in seen:
                seen.add(folded)
                yield _to_str(name)

    def __len__(self) -> int:
        return len({name.lower() for name, _ in self._fields})

    def __bool__(self) -> bool:
        return bool(self._fields)

    def _pairs(self) -> list[tuple[str, str]]:
        return [(_to_str(name), _to_str(value)) for name, value in self._fields]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Headers):
            return self._fields == other._fields
        return NotImplemented

    def __bytes__(self) -> bytes:
        """Return ``Name: value`` and CRLF for each field, without the closing empty line."""
        return b"".join([b"%b: %b\r\n" % field for field in self._fields])

    def __repr__(self) -> str:
        return f"Headers({list(self._fields)!r})"

    def copy(self) -> Headers:
        """Return an independent copy."""
        return Headers.from_wire(self._fields, self._raw)

    # Changing

    def set_all(self, name: str | bytes, values: Iterable[str | bytes]) -> None:
        """Make these the values of a field.

        Fields that are already there keep their places and the case of their names; surplus ones
        are removed and missing ones appended.
        """
        checked = [check_value(name, value) for value in values]
        fields, left = put_values(self._fields, bytes.lower, _to_bytes(name).lower(), checked)
        if left:
            added = check_name(name)
            fields += [(added, value) for value in left]
        self._fields = tuple(fields)
        self._raw = None

    def __setitem__(self, name: str | bytes, value: str | bytes) -> None:
        self.set_all(name, (value,))

    def __delitem__(self, name: str | bytes) -> None:
        wanted = _to_bytes(name).lower()
        fields = tuple([field for field in self._fields if field[0].lower() != wanted])
        if len(fields) == len(self._fields):
            raise KeyError(name)
        self._fields = fields
        self._raw = None

    def add(self, name: str | bytes, value: str | bytes) -> None:
        """Append a field, whether or not there is one of that name."""
        self.insert(len(self._fields), name, value)

    def insert(self, index: int, name: str | bytes, value: str | bytes) -> None:
        """Insert a field before position ``index`` of ``fields``."""
        field = (check_name(name), check_value(name, value))
        self._fields = (*self._fields[:index], field, *self._fields[index:])
        self._raw = None

    def clear(self) -> None:
        self._fields = ()
        self._raw = None

    def replace(
        self,
        pattern: str | bytes | re.Pattern[Any],
        repl: Any,
        flags: int = 0,
        count: int = 0,
    ) -> int:
        """Replace a regular expression in every ``name: value`` line; return how often.

        ``count`` bounds the replacements in all lines together; 0 is no bound. A line that has no
        ``": "`` left afterwards stays as it was, and so does one in which a faulty peer put what
        could not be set here.
        """
        compiled = compile_bytes(pattern, flags)
        if isinstance(repl, str):
            repl = _to_bytes(repl)
        done = 0
        fields = []
        for field in self._fields:
            faulty = _FORBIDDEN_IN_VALUE.search(field[1]) is not None
            if not faulty and (not count or done < count):
                left = count - done if count else 0
                line, times = compiled.subn(repl, b"%b: %b" % field, count=left)
                name, colon, value = line.partition(b": ")
                if times and colon:
                    name = field[0] if name == field[0] else check_name(name)
                    field = (name, check_value(name, value))
                    done += times
            fields.append(field)
        if done:
            self._fields = tuple(fields)
            self._raw = None
        return done


def compile_bytes(pattern: str | bytes | re.Pattern[Any], flags: int = 0) -> re.Pattern[bytes]:
    """Compile a pattern to one for bytes; text is taken as UTF-8.

    A compiled text pattern keeps its flags but for ``re.UNICODE``, which bytes do not have.
    """
    if isinstance(pattern, re.Pattern):
        if isinstance(pattern.pattern, bytes) and not flags:
            return pattern
        flags |= pattern.flags & ~re.UNICODE
        text: str | bytes = pattern.pattern
    else:
        text = pattern
    return re.compile(_to_bytes(text), flags)
