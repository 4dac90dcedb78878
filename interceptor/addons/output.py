"""Lines for a terminal, a pipe or a file, written without ever holding the reactor up."""

from __future__ import annotations

import os
import queue
import select
import stat
import sys
import threading
from collections.abc import Callable
from typing import Any, Final, Protocol, TextIO

from twisted.internet.defer import Deferred, succeed

PENDING_LIMIT: Final = 1 << 20
"""Bytes that may wait for a slow reader; lines beyond that are counted and dropped."""

DRAIN_TIMEOUT: Final = 1.0
"""Seconds that `LineOutput.drain` waits for a slow reader."""


class IOutputReactor(Protocol):
    """What `LineOutput` needs of a reactor."""

    def callLater(self, delay: float, callable: Callable[..., Any], *args: Any) -> Any:
        """As in ``IReactorTime``."""

    def callFromThread(self, callable: Callable[..., Any], *args: Any) -> Any:
        """As in ``IReactorFromThreads``."""


class LineOutput:
    """Gathers lines and writes them once per turn of the reactor.

    A regular file, and a stream that is no file at all, is written to at once. Whatever else has a
    file descriptor (a terminal, a pipe, a socket) may make its writer wait, so that a thread of
    its own writes there; making the descriptor non-blocking instead would do the same to every
    other program that shares it. A reader that went away (``EPIPE``) ends the output in silence.

    ``stream`` defaults to what ``sys.stdout`` is when the first line comes.
    """

    def __init__(
        self,
        reactor: IOutputReactor,
        stream: TextIO | None = None,
        pending_limit: int = PENDING_LIMIT,
    ) -> None:
        self._reactor = reactor
        self._stream = stream
        self._pending_limit = pending_limit
        self._lines: list[str] = []
        self._dropped = 0
        self._closed = False
        self._flushing: Any = None
        self._write_bytes: Callable[[bytes], None] | None = None
        self._thread: _WriterThread | None = None

    @property
    def stream(self) -> TextIO:
        """Where the lines go."""
        if self._stream is None:
            self._stream = sys.stdout
        return self._stream

    @property
    def pending(self) -> int:
        """Bytes that wait for a slow reader."""
        return 0 if self._thread is None else self._thread.pending

    @property
    def ended(self) -> bool:
        """Whether it turned out that nobody can read any more; lines are dropped then."""
        return self._closed

    def isatty(self) -> bool:
        """Whether the lines are read on a terminal."""
        try:
            return self.stream.isatty()
        except (AttributeError, ValueError):  # a closed stream
            return False

    def write(self, text: str) -> None:
        """Add ``text``, one or more whole lines without the last line's end."""
        if self._closed:
            return
        if not self._lines:
            self._flushing = self._reactor.callLater(0, self._flush)
        self._lines.append(text)

    def drain(self) -> Deferred[None]:
        """Write what is left and let go of the thread.

        Fires when all of it is written, or after `DRAIN_TIMEOUT` seconds. More lines may follow.
        """
        if self._flushing is not None:
            self._flushing.cancel()
            self._flush()
        thread, self._thread, self._write_bytes = self._thread, None, None
        if thread is None:
            return succeed(None)

        def look(result: None) -> None:
            self._closed = self._closed or not thread.alive

        return thread.end(self._reactor).addCallback(look)

    def _flush(self) -> None:
        self._flushing = None
        lines, self._lines = self._lines, []
        if not lines:
            return
        if self._write_bytes is None:
            self._write_bytes = self._open()
        if self._thread is not None and not self._thread.alive:
            self._closed = True
            return
        if self.pending > self._pending_limit:
            self._dropped += len(lines)
            return
        if self._dropped:
            lines.insert(0, f"({self._dropped} not printed: the reader is too slow)")
            self._dropped = 0
        lines.append("")
        encoding = getattr(self.stream, "encoding", None) or "utf-8"
        self._write_bytes("\n".join(lines).encode(encoding, "backslashreplace"))

    def _open(self) -> Callable[[bytes], None]:
        stream = self.stream
        try:
            descriptor = stream.fileno()
            # What was printed before, by other means, comes first.
            stream.flush()
            mode = os.fstat(descriptor).st_mode
        except (AttributeError, OSError, ValueError):
            # Not a file: Twisted's log in place of stdout says -1, a StringIO raises.
            return self._write_stream
        if stat.S_ISREG(mode):
            return lambda data: self._write_file(descriptor, data)
        self._thread = _WriterThread(descriptor)
        return self._thread.write

    def _write_stream(self, data: bytes) -> None:
        try:
            self.stream.write(data.decode(getattr(self.stream, "encoding", None) or "utf-8"))
            self.stream.flush()
        except (OSError, ValueError):
            self._closed = True

    def _write_file(self, descriptor: int, data: bytes) -> None:
        if not _write_all(descriptor, data):
            self._closed = True


class _WriterThread:
    """One thread that writes to one descriptor, in order. ``alive`` until nobody can read it.

    Only the reactor's thread counts up ``_put`` and only the writer counts up ``_written``: their
    difference needs no lock.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._put = 0
        self._written = 0
        self.alive = True
        self._on_end: Callable[[], object] = _nothing
        # A daemon: a reader that never reads must not keep the program from ending.
        self._thread = threading.Thread(target=self._run, name="interceptor-output", daemon=True)
        self._thread.start()

    @property
    def pending(self) -> int:
        """Bytes not yet written."""
        return self._put - self._written

    def write(self, data: bytes) -> None:
        self._put += len(data)
        self._queue.put(data)

    def end(self, reactor: IOutputReactor) -> Deferred[None]:
        """End the thread; fires when it has written everything, or after `DRAIN_TIMEOUT`."""
        ended: Deferred[None] = Deferred()

        def end() -> None:
            if not ended.called:
                ended.callback(None)

        def end_early() -> None:
            if timeout.active():
                timeout.cancel()
            end()

        timeout = reactor.callLater(DRAIN_TIMEOUT, end)
        self._on_end = lambda: reactor.callFromThread(end_early)
        self._queue.put(None)
        return ended

    def _run(self) -> None:
        while True:
            data = self._queue.get()
            if data is None:
                break
            if self.alive:
                self.alive = _write_all(self._descriptor, data)
            self._written += len(data)
        self._on_end()


def _nothing() -> None:
    return None


def _write_all(descriptor: int, data: bytes) -> bool:
    """Write everything, waiting as needed. Return False when nobody can read it any more."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            # Somebody who shares the descriptor made it non-blocking.
            writable = select.poll()
            writable.register(descriptor, select.POLLOUT)
            writable.poll()
        except OSError:
            return False
    return True
