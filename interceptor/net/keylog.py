"""A file of TLS secrets, with which Wireshark decrypts what was recorded."""

from __future__ import annotations

import os

from OpenSSL import SSL

from interceptor.errors import OptionsError


class KeyLog:
    """Appends secrets in NSS's format, as ``SSLKEYLOGFILE`` has it.

    Whoever can read the file can read the connections: it is made with mode 0600. Each secret is on
    its way to the system as soon as it is known, so that a capture can be watched live.
    """

    def __init__(self, path: str) -> None:
        """Open ``path`` for appending; raises `OptionsError` (``keylog-unwritable``)."""
        try:
            self._file = os.open(
                os.path.expanduser(path),
                os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC,
                0o600,
            )
        except OSError as error:
            reason = error.strerror or "unknown error"
            raise OptionsError(
                f"the key log {path} cannot be written: {reason}", "keylog-unwritable"
            ) from error

    def write(self, connection: SSL.Connection, line: bytes) -> None:
        """Append one secret. Signature of OpenSSL's callback; a full disk is not our failure."""
        try:
            os.write(self._file, line + b"\n")
        except OSError:
            # A connection does not end because its secrets cannot be noted.
            pass

    def close(self) -> None:
        """Close the file. Contexts that still have it write nowhere from now on."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)
