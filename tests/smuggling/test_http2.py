"""HTTP/2 in front or behind: what is one message to the proxy is one to everybody."""

from __future__ import annotations

import re

from interceptor.testing import MemoryOrigin, MemoryProxy
from tests.events.cases import OK
from tests.smuggling.http2messages import HTTP2_REQUESTS
from tests.smuggling.judges import REQUEST_JUDGES
from tests.smuggling.messages import AFTER, HIDDEN, REQUESTS
from tests.smuggling.test_http1 import FRAMINGS, Seen, SmugglingTestCase
from tests.wire.http2feeding import (
    DATA,
    GET,
    HEADERS,
    HELLO,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    Pairs,
    build,
    decode_heads,
    headers,
    parse,
    settings,
)
from tests.wire.otherparsers import Read

HONEST = headers(
    3,
    [*GET[:1], (b":scheme", b"http"), (b":authority", b"example.test"), (b":path", b"/after")],
    True,
)
"""The request of another stream of the same client."""


class FrontTests(SmugglingTestCase):
    """HTTP/2 in front, HTTP/1 behind."""

    def send_frames(
        self, frames: bytes, framing: str, *, streamed: bool = False
    ) -> tuple[Seen, list[MemoryOrigin], bytes]:
        seen = Seen()
        proxy = MemoryProxy(
            *(() if streamed else (seen,)),
            mode="reverse:http://example.test",
            h2_cleartext=True,
            h2_upstream="never",
            http_framing=framing,
        )
        try:
            origin = proxy.origin().respond(OK)
            client = proxy.client().send(HELLO + frames)
            client.send(HONEST)
            return seen, [origin], client.received
        finally:
            proxy.close()

    def check(self, framing: str) -> None:
        wrong = []
        for name, frames in HTTP2_REQUESTS.items():
            seen, origins, _ = self.send_frames(frames, framing)
            wrong += self.judge(name, seen, origins)
            if (b"GET", b"/hidden", b"") in seen.requests:
                wrong.append(f"{name}: hooks saw {seen.requests}")
        self.check_none(wrong)

    def test_there_are_enough(self) -> None:
        self.assertGreaterEqual(len(HTTP2_REQUESTS), 250)

    def test_reject(self) -> None:
        self.check("reject")

    def test_repair(self) -> None:
        self.check("repair")

    def test_pass(self) -> None:
        self.check("pass")

    def test_streamed(self) -> None:
        """Where nobody waits for the body, the head has left before it is known to lie."""
        wrong = []
        for name, frames in HTTP2_REQUESTS.items():
            _, [origin], _ = self.send_frames(frames, "repair", streamed=True)
            for peer in origin.connections:
                for judge, read in REQUEST_JUDGES.items():
                    verdict = read(peer.data)
                    if [each for each in verdict if each is not None and each[1] == b"/hidden"]:
                        wrong.append(f"{name}: {judge} reads {verdict} in {peer.data!r}")
        self.check_none(wrong)

    def test_the_plain_cases_are_refused_on_their_streams(self) -> None:
        for name in (
            "length b'0', a request",
            "field b'transfer-encoding': b'chunked'",
            "value 0",
            "name 0",
            "path b'/a' 0",
        ):
            for framing in FRAMINGS:
                seen, origins, received = self.send_frames(HTTP2_REQUESTS[name], framing)
                # A length that lies is found out when the hooks have been shown the head.
                self.assertNotIn(HIDDEN, b"".join(origin.received for origin in origins)[:40])
                self.assertIn((b"GET", b"/after", b""), seen.requests, name)
                resets = [f.stream_id for f in parse(received) if f.kind == RST_STREAM]
                answered = [f.stream_id for f in parse(received) if f.kind == DATA and f.flags & 1]
                self.assertEqual(set(resets) | set(answered), {1, 3}, name)


class Back:
    """A server of HTTP/2 that answers every request, and says what was wrong with those it got."""

    def __init__(self, origin: MemoryOrigin) -> None:
        self._origin = origin
        self._answered: dict[int, set[int]] = {}

    def serve(self, proxy: MemoryProxy) -> None:
        """Answer whatever came, until nothing moves any more."""
        moved = True
        while moved:
            moved = False
            for number, peer in enumerate(self._origin.connections):
                answered = self._answered.setdefault(number, set())
                if not peer.data.startswith(PREFACE):
                    continue
                if not answered:
                    answered.add(0)
                    peer.write(settings() + build(SETTINGS, 1, 0))
                    moved = True
                for frame in parse(peer.data):
                    ended = frame.kind in (HEADERS, DATA) and frame.flags & 1
                    if ended and frame.stream_id not in answered:
                        answered.add(frame.stream_id)
                        peer.write(headers(frame.stream_id, [(b":status", b"200")], True))
                        moved = True
            proxy.flush()

    def requests(self) -> tuple[list[Read], list[str]]:
        """The requests that are complete, and what there is to complain about."""
        found: list[Read] = []
        faults: list[str] = []
        for peer in self._origin.connections:
            if not peer.data:
                continue
            frames = parse(peer.data)
            heads: dict[int, Pairs] = {}
            for stream_id, _, fields in decode_heads(frames):
                heads.setdefault(stream_id, fields)
                faults += [f"{name!r}: {value!r}" for name, value in fields if is_bad(name, value)]
            for stream_id, fields in heads.items():
                mine = [frame for frame in frames if frame.stream_id == stream_id]
                body = b"".join(frame.payload for frame in mine if frame.kind == DATA)
                if not any(frame.flags & 1 for frame in mine if frame.kind in (DATA, HEADERS)):
                    continue
                named = dict(fields)
                length = named.get(b"content-length")
                if length is not None and length != b"%d" % len(body):
                    faults.append(f"length {length!r} of {body!r}")
                found.append((named[b":method"], named[b":path"], body))
        return found, faults


def is_bad(name: bytes, value: bytes) -> bool:
    """Whether a field must not be in HTTP/2; RFC 9113 section 8.2."""
    if name.removeprefix(b":") != name.lower().removeprefix(b":") or name in FORBIDDEN:
        return True
    return re.search(rb"[\x00-\x20\x7f:]", name[1:]) is not None or b"\0" in value or b"\n" in value


FORBIDDEN = frozenset(b"transfer-encoding connection upgrade keep-alive proxy-connection".split())


class BackTests(SmugglingTestCase):
    """HTTP/1 in front, HTTP/2 behind: what DATA has is what the fields say."""

    def check(self, framing: str) -> None:
        wrong = []
        for name, message in REQUESTS.items():
            seen = Seen()
            proxy = MemoryProxy(
                seen,
                mode="reverse:https://example.test",
                h2_upstream="always",
                http_framing=framing,
            )
            try:
                back = Back(proxy.tls_origin(alpn=("h2",)))
                client = proxy.client().send(message + AFTER)
                back.serve(proxy)
                client.end()
                back.serve(proxy)
            finally:
                proxy.close()
            sent, faults = back.requests()
            wrong += [f"{name}: {fault}" for fault in faults]
            if sent != seen.requests:
                wrong.append(f"{name}: sent {sent}, hooks saw {seen.requests}")
        self.check_none(wrong)

    def test_repair(self) -> None:
        self.check("repair")

    def test_pass(self) -> None:
        self.check("pass")


class BothTests(SmugglingTestCase):
    """HTTP/2 in front and behind."""

    def check(self, framing: str) -> None:
        wrong = []
        for name, frames in HTTP2_REQUESTS.items():
            seen = Seen()
            proxy = MemoryProxy(
                seen,
                mode="reverse:http://example.test",
                h2_cleartext=True,
                http_framing=framing,
            )
            try:
                back = Back(proxy.origin())
                proxy.client().send(HELLO + frames).send(HONEST)
                back.serve(proxy)
            finally:
                proxy.close()
            sent, faults = back.requests()
            wrong += [f"{name}: {fault}" for fault in faults]
            if sorted(sent) != sorted(seen.requests):
                wrong.append(f"{name}: sent {sent}, hooks saw {seen.requests}")
        self.check_none(wrong)

    def test_repair(self) -> None:
        self.check("repair")

    def test_pass(self) -> None:
        self.check("pass")
