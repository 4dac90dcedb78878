"""STARTTLS in XMPP (RFC 6120, section 5): elements, of which only the tags are looked at."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from interceptor.wire.starttlsspeech import Heard, Speech

_TAG_LIMIT: Final = 4096
"""Bytes of one tag, at most."""

_TAG: Final = re.compile(rb"""<(?:[^<>"']++|"[^"]*+"|'[^']*+')*+>""")
_NAME: Final = re.compile(rb"</?(?:[^\s:/>]+:)?([^\s/>]+)")


class XMPP(Speech):
    """XMPP, of clients and of servers with each other."""

    __slots__ = ("_asked", "_client", "_server")

    def __init__(self) -> None:
        self._client, self._server = _Tags(), _Tags()
        self._asked = False

    def client_sent(self, data: bytes, start: int) -> tuple[Heard, int]:
        for name, ends, at in self._client.feed(data, start):
            if not name:
                return Heard.OVER, len(data)
            if ends and name == b"starttls":
                self._asked = True
                return Heard.ASKS, at
        return Heard.NOTHING, len(data)

    def server_sent(self, data: bytes, start: int) -> tuple[Heard, int]:
        for name, ends, at in self._server.feed(data, start):
            if not name:
                return Heard.OVER, len(data)
            if not (ends and self._asked):
                continue
            if name == b"proceed":
                return Heard.AGREES, at
            if name in (b"failure", b"stream"):
                self._asked = False
                return Heard.REFUSES, at
        return Heard.NOTHING, len(data)


class _Tags:
    """Finds the tags of one direction."""

    __slots__ = ("_begun",)

    def __init__(self) -> None:
        self._begun = b""

    def feed(self, data: bytes, start: int) -> Iterator[tuple[bytes, bool, int]]:
        """Give the local names of tags, whether they end an element, and where in ``data`` they do.

        An empty name is for what nobody can follow, or must not be there: comments, CDATA sections
        and document types (RFC 6120, section 11.1), and tags that do not end.
        """
        text = self._begun + data[start:]
        offset = start - len(self._begun)
        self._begun = b""
        at = 0
        while (begin := text.find(b"<", at)) >= 0:
            if text[begin + 1 : begin + 2] == b"!":
                yield b"", False, len(data)
                return
            tag = _TAG.match(text, begin)
            if tag is None:
                self._begun = text[begin:]
                if len(self._begun) > _TAG_LIMIT:
                    yield b"", False, len(data)
                return
            at = tag.end()
            name = _NAME.match(tag[0])
            ends = tag[0].startswith(b"</") or tag[0].endswith(b"/>")
            if name is not None:
                yield name[1], ends, offset + at
