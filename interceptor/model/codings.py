"""Content codings (RFC 9110 section 8.4): gzip, deflate, br, zstd and identity, bounded."""

from __future__ import annotations

import gzip
import time
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, Protocol

import brotli
import zstandard

from interceptor.errors import DecodeError

DEFAULT_LIMIT: Final = 128 * 1024 * 1024
"""How many bytes a body may decode to unless told otherwise."""

RATIO_LIMIT: Final = 1100
"""How many times its coded size a body may become unless told otherwise; deflate reaches 1032."""

RATIO_FREE: Final = 16 * 1024 * 1024
"""How many decoded bytes are free of the bound on the ratio unless told otherwise."""

MAX_CODINGS: Final = 5
"""How many codings may lie on one body."""

DECODABLE: Final = ("gzip", "deflate", "br", "zstd", "identity")
"""The codings that can be removed, by their registered names."""

# RFC 9659: a zstd window for the web is 8 MiB at most.
_ZSTD_WINDOW = 8 * 1024 * 1024
# zlib copies what is left after every member and every bounded step, and none of them can be
# interrupted: they are fed small slices.
_SLICE = 16 * 1024
# zstandard cannot bound the output of a call, so the input is: 4 bytes make 128 KiB at most, so
# that one slice makes 8 MiB at most.
_ZSTD_SLICE = 256
_STEP = 64 * 1024
# Of malloc.h, and the bytes that it may keep.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _KEPT = -1, -3, 1024 * 1024
# Seconds of a turn of the reactor that decoding may take before others come first.
_MUCH = 0.02

_ALIASES = {"x-gzip": "gzip", "x-deflate": "deflate"}


class Strain:
    """Counts the time that decoding takes from others; ``crowded`` once it is much."""

    __slots__ = ("_seconds", "crowded")

    def __init__(self) -> None:
        self._seconds = 0.0
        self.crowded = False

    def add(self, seconds: float) -> None:
        """Count so much more."""
        self._seconds += seconds
        if self._seconds > _MUCH:
            self.crowded = True

    def relax(self) -> None:
        """Begin anew: others have had their turn."""
        self._seconds = 0.0
        self.crowded = False


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """What removing the codings of one body may make, in bytes, and take, in CPU seconds.

    Beyond ``ratio_free`` bytes it may make ``ratio`` times the coded size; 0 lets it make any.
    ``strain`` counts what it takes.
    """

    size: int = DEFAULT_LIMIT
    seconds: float | None = None
    ratio: int = RATIO_LIMIT
    ratio_free: int = RATIO_FREE
    strain: Strain | None = field(default=None, compare=False)


class Work:
    """Work in a thread that may take some ``seconds`` of processor time; None lets it take any.

    What happens between `check` and the next `begin` does not count.
    """

    __slots__ = ("_began", "_left", "seconds")

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self._left = seconds or 0.0
        self._began = 0.0

    def begin(self) -> None:
        """Count from now on."""
        if self.seconds is not None:
            self._began = time.thread_time()

    def check(self) -> None:
        """Raise `DecodeError`, with code ``content-too-slow``, where it has become too much."""
        if self.seconds is None:
            return
        now = time.thread_time()
        self._left -= now - self._began
        self._began = now
        if self._left < 0:
            raise DecodeError(
                f"it takes more than {self.seconds:g} s to decode the body", "content-too-slow"
            )


class _Stage(Protocol):
    """Removes one coding. ``emit`` is called with output as it comes, and raises to stop it."""

    def feed(self, data: bytes, emit: Callable[[bytes], None]) -> None: ...

    def complete(self) -> bool: ...


class _Gzip:
    """RFC 1952: any number of members; what follows the last one is dropped."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(31)
        self._held = b""
        self._between = False
        self._over = False

    def feed(self, data: bytes, emit: Callable[[bytes], None]) -> None:
        while data and not self._over:
            if self._between:
                data = (self._held + data).lstrip(b"\0")
                self._held = b""
                if len(data) < 2:
                    self._held = data
                    return
                if data[:2] != b"\x1f\x8b":
                    self._over = True
                    return
                self._member = zlib.decompressobj(31)
                self._between = False
            data = _inflate(self._member, data, emit)
            self._between = self._member.eof

    def complete(self) -> bool:
        return self._between


class _Deflate:
    """RFC 9110 section 8.4.1.2: the zlib format, or the bare deflate data some senders give."""

    def __init__(self) -> None:
        self._stream: zlib._Decompress | None = None
        self._held = b""

    def feed(self, data: bytes, emit: Callable[[bytes], None]) -> None:
        if self._stream is None:
            data = self._held + data
            if len(data) < 2:
                self._held = data
                return
            # RFC 1950 section 2.2: method 8, and the two bytes are a multiple of 31.
            zlib_header = data[0] & 0x0F == 8 and (data[0] << 8 | data[1]) % 31 == 0
            self._stream = zlib.decompressobj(15 if zlib_header else -15)
        if not self._stream.eof:
            _inflate(self._stream, data, emit)

    def complete(self) -> bool:
        return self._stream is not None and self._stream.eof


def _inflate(stream: zlib._Decompress, data: bytes, emit: Callable[[bytes], None]) -> bytes:
    """Inflate ``data`` step by step; return what follows the end of the stream."""
    while True:
        out = stream.decompress(data, _STEP)
        if out:
            emit(out)
        if stream.eof:
            return stream.unused_data
        data = stream.unconsumed_tail
        if not data and len(out) < _STEP:
            return b""


class _Brotli:
    """RFC 7932."""

    def __init__(self) -> None:
        self._stream = brotli.Decompressor()

    def feed(self, data: bytes, emit: Callable[[bytes], None]) -> None:
        if self._stream.is_finished():
            # As it is where both come at once.
            raise brotli.error("there is something behind its end")
        # can_accept_more_data() may be true with output left over, so only empty output is the end.
        while not self._stream.is_finished():
            out = self._stream.process(data, output_buffer_limit=_STEP)
            if not out:
                return
            emit(out)
            data = b""

    def complete(self) -> bool:
        return bool(self._stream.is_finished())


class _Zstd:
    """RFC 8878: any number of frames."""

    def __init__(self) -> None:
        self._context = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
        self._frame = self._context.decompressobj()

    def feed(self, data: bytes, emit: Callable[[bytes], None]) -> None:
        for start in range(0, len(data), _ZSTD_SLICE):
            part = data[start : start + _ZSTD_SLICE]
            while part:
                if self._frame.eof:
                    self._frame = self._context.decompressobj()
                out = self._frame.decompress(part)
                if out:
                    emit(out)
                part = self._frame.unused_data if self._frame.eof else b""

    def complete(self) -> bool:
        return bool(self._frame.eof)


_STAGES: dict[str, Callable[[], _Stage]] = {
    "gzip": _Gzip,
    "deflate": _Deflate,
    "br": _Brotli,
    "zstd": _Zstd,
}

_FOREIGN = (zlib.error, brotli.error, zstandard.ZstdError, MemoryError)


class _Bounded:
    """One stage with its bounds: it refuses before more than one step too much is held."""

    def __init__(self, coding: str, limits: DecodeLimits, per_feed: bool, work: Work) -> None:
        self._work = work
        self._coding = coding
        self._limit = limits.size
        self._ratio = limits.ratio
        # Nothing is beyond the limit that could have too high a ratio.
        self._free = limits.ratio_free if limits.ratio else limits.size
        self._per_feed = per_feed
        self._stage = _STAGES[coding]()
        self._taken = 0
        self._given = 0
        self._fed = False
        self._out: list[bytes] = []

    def feed(self, data: bytes) -> bytes:
        if self._per_feed:
            self._taken = self._given = 0
        self._taken += len(data)
        self._fed = True
        try:
            if len(data) <= _SLICE:
                self._stage.feed(data, self._emit)
                self._work.check()
            else:
                for start in range(0, len(data), _SLICE):
                    self._stage.feed(data[start : start + _SLICE], self._emit)
                    self._work.check()
        except _FOREIGN as error:
            raise DecodeError(f"the body is not valid {self._coding}: {error}") from error
        out = self._out
        if not out:
            return b""
        self._out = []
        return out[0] if len(out) == 1 else b"".join(out)

    def _emit(self, data: bytes) -> None:
        self._given += len(data)
        if self._given > self._limit:
            raise DecodeError(
                f"the body decodes from {self._coding} to more than {self._limit} bytes",
                "content-too-large",
            )
        if self._given > self._free and self._given > self._taken * self._ratio:
            raise DecodeError(
                f"the body decodes from {self._coding} to more than {self._ratio} times its size",
                "content-too-large",
            )
        self._out.append(data)
        self._work.check()

    def finish(self) -> None:
        if self._fed and not self._stage.complete():
            raise DecodeError(f"the body ends in the middle of its {self._coding} data")


def split(codings: str) -> list[str]:
    """Return the codings of a Content-Encoding, in order, in lower case and without identity."""
    names = [name.strip().lower() for name in codings.split(",")]
    return [_ALIASES.get(name, name) for name in names if name not in ("", "identity")]


def normalize(codings: str) -> str:
    """Return a Content-Encoding in lower case and without identity, which may leave nothing."""
    return ", ".join(split(codings))


def _checked(codings: str) -> list[str]:
    names = split(codings)
    if len(names) > MAX_CODINGS:
        raise DecodeError(
            f"{len(names)} content codings on one body; {MAX_CODINGS} are the most",
            "content-codings-excessive",
        )
    for name in names:
        if name not in _STAGES:
            raise DecodeError(f"content coding {name!r} is not known", "content-coding-unknown")
    return names


class Decoder:
    """Removes content codings from a body that comes in pieces.

    ``coding`` is the value of a Content-Encoding: codings in the order in which they were applied.
    ``limits`` bound the decoded size, of every coding, and the processor time that all of it may
    take; a number is a size in bytes, and ``seconds`` the time beside it. With ``per_feed`` the
    size is that of what comes of one call of `feed`, for a body that may go on for ever. Raises
    `DecodeError`, from here and from both methods, with code ``content-damaged``,
    ``content-too-large``, ``content-too-slow``, ``content-coding-unknown`` or
    ``content-codings-excessive``; the decoder is of no use then.
    """

    __slots__ = ("_stages", "_work")

    def __init__(
        self,
        coding: str,
        limits: int | DecodeLimits = DEFAULT_LIMIT,
        *,
        per_feed: bool = False,
        seconds: float | None = None,
    ) -> None:
        if not isinstance(limits, DecodeLimits):
            limits = DecodeLimits(limits, seconds)
        work = self._work = Work(limits.seconds)
        names = reversed(_checked(coding))
        self._stages = [_Bounded(name, limits, per_feed, work) for name in names]

    def feed(self, data: bytes) -> bytes:
        """Take coded bytes and return what they decode to, which may be nothing yet."""
        self._work.begin()
        for stage in self._stages:
            if not data:
                break
            data = stage.feed(data)
        return data

    def finish(self) -> None:
        """Say that no more bytes come; raises where the coded data has not come to its end."""
        for stage in self._stages:
            stage.finish()


def release_memory() -> None:
    """Have the C library give back what was freed, where it can.

    It keeps the pieces of what was put together, for each thread its own, and the more the larger
    they were, unless it is told how much that may be.
    """
    library = _c_library()
    if library is not None:
        library.malloc_trim(0)


@lru_cache
def _c_library() -> Any:
    """Return glibc's functions, after telling it how much to keep; None where it is another one."""
    import ctypes

    library = ctypes.CDLL(None)
    try:
        library.mallopt(_M_TRIM_THRESHOLD, _KEPT)
        library.mallopt(_M_MMAP_THRESHOLD, _KEPT)
        library.malloc_trim  # noqa: B018 - it is there, or it raises
    except AttributeError:
        return None
    return library


def decode(
    data: bytes | Iterable[bytes],
    coding: str,
    limits: int | DecodeLimits = DEFAULT_LIMIT,
    seconds: float | None = None,
) -> bytes:
    """Return a whole body, given at once or in pieces, with its codings removed.

    An empty one stays empty. Arguments and errors are those of `Decoder`.
    """
    decoder = Decoder(coding, limits, seconds=seconds)
    if isinstance(data, bytes):
        decoded = decoder.feed(data)
    else:
        decoded = b"".join([decoder.feed(piece) for piece in data])
    decoder.finish()
    return decoded


def _gzip(data: bytes) -> bytes:
    # Without a time stamp, so that equal bodies stay equal.
    return gzip.compress(data, 6, mtime=0)


def _brotli(data: bytes) -> bytes:
    # The quality that servers use on the fly; the default of 11 is a hundred times slower.
    return bytes(brotli.compress(data, quality=5))


def _zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


_ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": _gzip,
    "deflate": zlib.compress,
    "br": _brotli,
    "zstd": _zstd,
}


def encode(data: bytes, coding: str) -> bytes:
    """Apply content codings, in the order of the list. Raises `DecodeError` for unknown ones."""
    for name in _checked(coding):
        data = _ENCODERS[name](data)
    return data
