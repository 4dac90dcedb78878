"""TLS sessions with servers, kept so that the next connection can resume them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

from OpenSSL import SSL


class SessionCache:
    """The latest session for each key, of which the least recently used are forgotten.

    The key has to hold everything that may tell one session from another: host, port, SNI, ALPN
    offer, client certificate, roots and verification policy. Nothing but a connection whose server
    was verified may be remembered.
    """

    def __init__(self, size: int) -> None:
        """Keep at most ``size`` sessions; 0 means none."""
        self.size = size
        self._sessions: OrderedDict[Hashable, SSL.Session] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sessions)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._sessions

    def remember(self, key: Hashable, connection: SSL.Connection) -> None:
        """Keep the session that ``connection`` has now.

        With TLS 1.3 that is worth something once a ticket has come, which is after the handshake.
        """
        if self.size <= 0:
            return
        session = connection.get_session()
        if session is None:
            return
        sessions = self._sessions
        sessions[key] = session
        sessions.move_to_end(key)
        if len(sessions) > self.size:
            sessions.popitem(last=False)

    def offer(self, key: Hashable, connection: SSL.Connection) -> bool:
        """Let a new connection try to resume; False if there is nothing to resume."""
        session = self._sessions.get(key)
        if session is None:
            return False
        try:
            connection.set_session(session)
        except (ValueError, SSL.Error):
            # It belongs to a context that is no longer in use.
            del self._sessions[key]
            return False
        self._sessions.move_to_end(key)
        return True

    def forget(self, key: Hashable) -> None:
        """Drop the session of ``key``, if there is one."""
        self._sessions.pop(key, None)

    def clear(self) -> None:
        """Drop all sessions, as when trust has changed."""
        self._sessions.clear()
