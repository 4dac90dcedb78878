"""What a request says in its target, its fields and its body, to be read and changed in parts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from interceptor.model import cookies, multipart, urls
from interceptor.model.message import Message, to_bytes
from interceptor.model.multidict import MultiDictView, Pairs

if TYPE_CHECKING:
    from interceptor.model.headers import Headers

_FORM = "application/x-www-form-urlencoded"


class RequestViews(Message):
    """A message with a target: its query, its path, its cookies and its forms."""

    __slots__ = ("path_bytes",)

    path_bytes: bytes

    @property
    def query(self) -> MultiDictView[str, str]:
        """The query's parameters, decoded; changes are written back to `path`.

        Parameters that are not changed keep their bytes.
        """
        return MultiDictView(self._get_query, self._set_query)

    @query.setter
    def query(self, value: Pairs[str, str]) -> None:
        MultiDictView(self._get_query, self._set_query).assign(value)

    def _get_query(self) -> tuple[tuple[str, str], ...]:
        return urls.decode_form(urls.split_path(self.path_bytes)[1])

    def _set_query(self, pairs: tuple[tuple[str, str], ...]) -> None:
        path, query = urls.split_path(self.path_bytes)
        encoded = urls.encode_form(pairs, query)
        self.path_bytes = path + (b"?" + encoded if encoded else b"")

    @property
    def path_components(self) -> tuple[str, ...]:
        """The path's parts between slashes, decoded, without empty ones; may be assigned to."""
        return urls.decode_path(urls.split_path(self.path_bytes)[0])

    @path_components.setter
    def path_components(self, components: Iterable[str]) -> None:
        _, question, query = self.path_bytes.partition(b"?")
        self.path_bytes = urls.encode_path(components) + question + query

    @property
    def cookies(self) -> MultiDictView[str, str]:
        """The cookies of the Cookie fields; changes are written back as one field."""
        return MultiDictView(self._get_cookies, self._set_cookies)

    @cookies.setter
    def cookies(self, value: Pairs[str, str]) -> None:
        MultiDictView(self._get_cookies, self._set_cookies).assign(value)

    def _get_cookies(self) -> tuple[tuple[str, str], ...]:
        return cookies.parse_cookie("; ".join(self.headers.get_all("cookie")))

    def _set_cookies(self, pairs: tuple[tuple[str, str], ...]) -> None:
        before = "; ".join(self.headers.get_all("cookie"))
        self.headers.set_all("Cookie", [cookies.format_cookie(pairs, before)] if pairs else [])

    @property
    def urlencoded_form(self) -> MultiDictView[str, str]:
        """The fields of an ``application/x-www-form-urlencoded`` body; empty for other bodies.

        Changes are written back to `content`; assigning to the whole also sets Content-Type.
        """
        return MultiDictView(self._get_form, self._set_form)

    @urlencoded_form.setter
    def urlencoded_form(self, value: Pairs[str, str]) -> None:
        MultiDictView(self._get_form, self._set_form).assign(value)

    def _is_form(self) -> bool:
        return kind_of(self.headers) == _FORM

    def _get_form(self) -> tuple[tuple[str, str], ...]:
        if not self._is_form():
            return ()
        return urls.decode_form((self.get_content() or b"").strip())

    def _set_form(self, pairs: tuple[tuple[str, str], ...]) -> None:
        old = b""
        if self._is_form():
            old = (self.get_content() or b"").strip()
        else:
            self.headers["Content-Type"] = _FORM
        self.content = urls.encode_form(pairs, old)

    @property
    def multipart_form(self) -> MultiDictView[bytes, bytes]:
        """The parts of a ``multipart/form-data`` body by name, as bytes; empty for other bodies.

        Changes are written back to `content`; a part keeps its own headers, such as a file name,
        as long as its name is there. Assigning to the whole also sets Content-Type.
        """
        return MultiDictView(self._get_multipart, self._set_multipart)

    @multipart_form.setter
    def multipart_form(self, value: Pairs[bytes, bytes]) -> None:
        MultiDictView(self._get_multipart, self._set_multipart).assign(value)

    def _parts(self) -> tuple[multipart.Part, ...]:
        boundary = multipart.boundary_of(self.headers.get("content-type", ""))
        if boundary is None:
            return ()
        return multipart.decode(self.get_content() or b"", boundary)

    def _get_multipart(self) -> tuple[tuple[bytes, bytes], ...]:
        return tuple((part.name, part.content) for part in self._parts())

    def _set_multipart(self, pairs: tuple[tuple[bytes, bytes], ...]) -> None:
        parts = multipart.merge([(to_bytes(name), to_bytes(v)) for name, v in pairs], self._parts())
        boundary = multipart.boundary_of(self.headers.get("content-type", ""))
        if boundary is None or not multipart.fits(boundary, parts):
            boundary = multipart.new_boundary()
            self.headers["Content-Type"] = (
                f"multipart/form-data; boundary={boundary.decode('ascii')}"
            )
        self.content = multipart.encode(parts, boundary)


def kind_of(headers: Headers) -> str:
    """Return the media type of a message, without its parameters and in lower case."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()
