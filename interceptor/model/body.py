"""A gathered body: in memory up to a limit, beyond it in an anonymous temporary file."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator

from interceptor.errors import InterceptorError

_NO_FILE = -1
_SNAPSHOT = -1
_SMALL = 1024
_JOINED = 16384


class SpoolError(InterceptorError):
    """The temporary file of a body failed: no space, no descriptor, no directory.

    ``status`` is what a client is told.
    """

    code = "body-spool-failed"
    status = 500


class Body:
    """Bytes that arrive piece by piece and are read as a whole, or again piece by piece.

    What is beyond ``memory_limit`` bytes goes, with everything before it, to a temporary file of
    mode 0600 that has no name, so that nobody else can open it and nothing stays behind.
    Failures of that file raise `SpoolError`.
    """

    __slots__ = ("_fd", "_memory_limit", "_pieces", "_tail", "length")

    length: int

    def __init__(self, memory_limit: int) -> None:
        self.length = 0
        self._memory_limit = memory_limit
        self._pieces: list[bytes] = []
        # Small pieces are joined: an object of its own for each would take many times its bytes.
        self._tail = bytearray()
        self._fd = _NO_FILE

    @property
    def spooled(self) -> bool:
        """Whether the bytes are in a file rather than in memory."""
        return self._fd != _NO_FILE

    def __len__(self) -> int:
        return self.length

    def __bool__(self) -> bool:
        return self.length > 0

    def append(self, data: bytes) -> None:
        """Add bytes at the end."""
        if not data:
            return
        if self._fd == _NO_FILE:
            if self.length + len(data) <= self._memory_limit:
                self.length += len(data)
                if len(data) < _SMALL:
                    self._tail += data
                    if len(self._tail) >= _JOINED:
                        self._join()
                else:
                    if self._tail:
                        self._join()
                    self._pieces.append(data)
                return
            if self._memory_limit == _SNAPSHOT:
                raise ValueError("a copy of a body cannot be added to")
            self.spool()
        elif self._memory_limit == _SNAPSHOT:
            raise ValueError("a copy of a body cannot be added to")
        self._write(data)

    def _join(self) -> None:
        tail, self._tail = self._tail, bytearray()
        self._pieces.append(bytes(tail))

    def spool(self) -> None:
        """Move the bytes to a file, and those to come."""
        if self._fd != _NO_FILE:
            return
        try:
            with tempfile.TemporaryFile(prefix="interceptor-body-", buffering=0) as file:
                self._fd = os.dup(file.fileno())
        except OSError as error:
            raise SpoolError(f"cannot make a temporary file for a body: {error}") from error
        if self._tail:
            self._join()
        pieces, self._pieces = self._pieces, []
        self.length = 0
        for piece in pieces:
            self._write(piece)

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                written = os.pwrite(self._fd, view, self.length)
                self.length += written
                view = view[written:]
        except OSError as error:
            raise SpoolError(f"cannot write a body to its temporary file: {error}") from error

    def _read(self, size: int, offset: int) -> bytes:
        try:
            data = os.pread(self._fd, size, offset)
        except OSError as error:
            raise SpoolError(f"cannot read a body from its temporary file: {error}") from error
        if not data:
            raise SpoolError("the temporary file of a body became shorter")
        return data

    def chunks(self, size: int = 65536) -> Iterator[bytes]:
        """Yield the bytes in order, at most ``size`` at a time; never an empty chunk."""
        if self._fd == _NO_FILE:
            if self._tail:
                self._join()
            for piece in self._pieces:
                if len(piece) <= size:
                    yield piece
                else:
                    for start in range(0, len(piece), size):
                        yield piece[start : start + size]
            return
        offset = 0
        while offset < self.length:
            data = self._read(min(size, self.length - offset), offset)
            offset += len(data)
            yield data

    def getvalue(self) -> bytes:
        """Return all bytes. For a spooled body that costs as much memory, for as long as kept."""
        if self._fd != _NO_FILE:
            return b"".join(self.chunks(1 << 20))
        if self._tail:
            self._join()
        if len(self._pieces) > 1:
            self._pieces = [b"".join(self._pieces)]
        return self._pieces[0] if self._pieces else b""

    def copy(self) -> Body:
        """Return a snapshot that can be read independently of the original, but not added to."""
        if self._tail:
            self._join()
        made = Body(_SNAPSHOT)
        made._pieces = list(self._pieces)
        made.length = self.length
        if self._fd != _NO_FILE:
            try:
                made._fd = os.dup(self._fd)
            except OSError as error:
                raise SpoolError(f"cannot copy a body: {error}") from error
        return made

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Body):
            return NotImplemented
        if self is other:
            return True
        if self.length != other.length:
            return False
        if self._fd == _NO_FILE and other._fd == _NO_FILE:
            return self.getvalue() == other.getvalue()
        offset = 0
        for chunk in self.chunks():
            if other._slice(offset, len(chunk)) != chunk:
                return False
            offset += len(chunk)
        return True

    def _slice(self, offset: int, size: int) -> bytes:
        if self._fd == _NO_FILE:
            return self.getvalue()[offset : offset + size]
        parts = []
        while size:
            part = self._read(size, offset)
            offset += len(part)
            size -= len(part)
            parts.append(part)
        return b"".join(parts)

    def close(self) -> None:
        """Give the memory or the file back; the body is empty then. Dropping it does the same."""
        fd, self._fd = self._fd, _NO_FILE
        self._pieces = []
        self._tail = bytearray()
        self.length = 0
        if fd != _NO_FILE:
            os.close(fd)

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError, OSError):
            self.close()

    def __repr__(self) -> str:
        return f"<Body {self.length} bytes {'in a file' if self.spooled else 'in memory'}>"
