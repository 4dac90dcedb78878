"""A command as a process of ours: in the terminal's hands, and yet told of our signals."""

from __future__ import annotations

import os
import signal
import subprocess  # the operator's own command line, run as it stands
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred

from interceptor.errors import LaunchError
from interceptor.model.wording import shown

_BY_TERMINAL = frozenset((signal.SIGINT, signal.SIGQUIT))
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126


class Command:
    """Runs one command with our own standard input, output and error, and waits for its end.

    It stays in our process group, so that the terminal stops, continues and interrupts it as it
    would without us. Whatever file descriptors we were started with are its own, too.
    """

    def __init__(self, arguments: Sequence[str], reactor: Any) -> None:
        self.arguments = tuple(arguments)
        self._reactor = reactor
        self._process: subprocess.Popen[bytes] | None = None
        self._early: list[int] = []
        self._ended: Deferred[int] = Deferred()

    def start(self, environment: Mapping[str, str]) -> Deferred[int]:
        """Start the command. Fires with its exit status as a shell has it (`exit_status`).

        Raises `LaunchError` when it cannot be started.
        """
        try:
            # Our own files are closed by the system when the command takes over; what is left are
            # those that we inherited, such as a job server's.
            self._process = subprocess.Popen(  # noqa: S603 - the operator's own command, no shell
                self.arguments, env=dict(environment), close_fds=False
            )
        except (OSError, ValueError) as error:
            raise self._cannot_start(error) from None
        for number in self._early:
            self.pass_on(number)
        # A thread waits, because a reactor hears only of processes that it started itself.
        threading.Thread(target=self._wait, name="command", daemon=True).start()
        return self._ended

    def _cannot_start(self, error: OSError | ValueError) -> LaunchError:
        name = shown(self.arguments[0], 4096)
        if isinstance(error, FileNotFoundError):
            if "/" in self.arguments[0] and os.path.exists(self.arguments[0]):
                return LaunchError(f"cannot run {name}: its interpreter is missing", _NOT_FOUND)
            return LaunchError(f"cannot run {name}: no such command", _NOT_FOUND)
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        return LaunchError(f"cannot run {name}: {reason}", _NOT_EXECUTABLE)

    def _wait(self) -> None:
        assert self._process is not None
        status = exit_status(self._process.wait())
        self._reactor.callFromThread(self._ended.callback, status)

    def pass_on(self, number: int) -> None:
        """Send the command a signal that we got, unless the terminal has sent it one as well.

        What comes while the command is being started waits until it can be told.
        """
        process = self._process
        if process is None:
            self._early.append(number)
        elif number not in _BY_TERMINAL or not _terminal_reaches(process.pid):
            process.send_signal(number)

    def terminate(self) -> None:
        """Ask the command to end."""
        self.pass_on(signal.SIGTERM)


def exit_status(returned: int) -> int:
    """Turn what ``subprocess`` has of an ended process into what a shell has: 128 + N by signal."""
    return 128 - returned if returned < 0 else returned


def _terminal_reaches(process: int) -> bool:
    """Whether what is typed at our terminal interrupts both us and the process.

    It goes to all processes of the group in the foreground, and nothing tells a signal that came
    that way from another.
    """
    try:
        group = os.getpgrp()
        if os.getpgid(process) != group:
            return False
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == group
    except OSError:
        return False
    finally:
        os.close(terminal)
