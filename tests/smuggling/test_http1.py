"""HTTP/1 in front, HTTP/1 behind: nobody finds another end of a message than the proxy did."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from interceptor.http import Headers, HTTPFlow, Request
from interceptor.testing import MemoryClient, MemoryOrigin, MemoryProxy
from tests.events.cases import OK, EventTestCase
from tests.smuggling.judges import (
    MISSING,
    REQUEST_JUDGES,
    Verdict,
    by_us,
    responses_by_h11,
    responses_by_httptools,
)
from tests.smuggling.messages import AFTER, REQUESTS, RESPONSES, as_sent_to
from tests.wire.otherparsers import Read

FRAMINGS = ("reject", "repair", "pass")
FRONTS = ("regular", "reverse", "tunnel")
STRICT = ("h11", "httptools", "Twisted")


class Seen:
    """An addon that notes the requests that go to the server."""

    def __init__(self) -> None:
        self.requests: list[Read] = []

    def request(self, flow: HTTPFlow) -> None:
        request = flow.request
        self.requests.append((request.method_bytes, request.path_bytes, request.raw_content or b""))


def agree(verdict: Verdict, expected: Verdict) -> bool:
    """Whether a judge read what is expected, or refused to read on somewhere in it."""
    if verdict and verdict[-1] is None:
        return verdict[:-1] == expected[: len(verdict) - 1]
    return verdict == expected


NOT_HTTP_IN_A_TUNNEL = frozenset(("space before",))
"""What passes through a tunnel as bytes, seen by TCP hooks, because it does not look like HTTP."""


class SmugglingTestCase(EventTestCase):
    """Sends messages through proxies of every front."""

    skip = MISSING

    def send(
        self, front: str, data: bytes, framing: str = "repair", chunk: int | None = None
    ) -> tuple[Seen, list[MemoryOrigin], MemoryClient]:
        """Send a message, and the request of an honest client behind it."""
        seen = Seen()
        mode = "reverse:http://example.test" if front == "reverse" else "regular"
        proxy = MemoryProxy(seen, mode=mode, http_framing=framing)
        try:
            origins = [proxy.origin(host).respond(OK) for host in ("example.test", "other.test")]
            client = proxy.client(chunk)
            if front == "tunnel":
                client.connect("example.test", 80)
            client.send(as_sent_to(front, data + AFTER))
            client.end()
            return seen, origins, client
        finally:
            proxy.close()

    def judge(self, name: str, seen: Seen, origins: list[MemoryOrigin]) -> list[str]:
        """What there is to complain about."""
        wrong = []
        understood: Verdict = []
        for origin in origins:
            for peer in origin.connections:
                expected = by_us(peer.data)
                understood += expected
                for judge, read in REQUEST_JUDGES.items():
                    if not agree(verdict := read(peer.data), expected):
                        wrong.append(f"{name}: {judge} reads {verdict} in {peer.data!r}")
        if sorted(understood, key=repr) != sorted(seen.requests, key=repr):
            wrong.append(f"{name}: sent {understood}, hooks saw {seen.requests}")
        return wrong

    def check_none(self, wrong: list[str]) -> None:
        self.assertEqual(len(wrong), 0, "\n".join(wrong))


class RequestTests(SmugglingTestCase):
    """What servers are sent has one reading, and it is the one that hooks were shown."""

    def check(self, front: str, framing: str, chunk: int | None = None) -> None:
        wrong = []
        for name, data in REQUESTS.items():
            if front == "tunnel" and name in NOT_HTTP_IN_A_TUNNEL:
                continue
            seen, origins, client = self.send(front, data, framing, chunk)
            wrong += self.judge(name, seen, origins)
            answers = client.received.count(b"HTTP/1.1 200 OK\r\nContent-Length: 2")
            # Field names that are none are refused by the origin, too, and only sent in `pass`.
            if answers != len(seen.requests) and framing != "pass":
                wrong.append(f"{name}: {answers} answers for {seen.requests}")
        self.check_none(wrong)

    def test_there_are_enough(self) -> None:
        self.assertGreaterEqual(len(REQUESTS), 300)

    def test_reverse_byte_by_byte(self) -> None:
        self.check("reverse", "repair", 1)

    def test_what_was_understood_is_what_strict_parsers_understand(self) -> None:
        """The same of what the client sent: where several accept it, all find the same ends."""
        wrong = []
        for name, data in REQUESTS.items():
            seen, _, _ = self.send("reverse", data)
            for judge in STRICT:
                verdict = REQUEST_JUDGES[judge](data + AFTER)
                read = verdict[:-1] if None in verdict else verdict
                common = min(len(read), len(seen.requests))
                if ends(read[:common]) != ends(seen.requests[:common]):
                    wrong.append(f"{name}: {judge} reads {verdict}, hooks saw {seen.requests}")
        self.check_none(wrong)

    def test_the_plain_cases_are_refused(self) -> None:
        """Without them all agreeing, nothing would be shown."""
        for name in (
            "length, then coding: plain",
            "lengths: two that differ",
            "coding b'xchunked'",
            "field b'Transfer-Encoding : chunked'",
            "LF behind a field",
            "chunks: other bytes behind the data",
        ):
            for front in FRONTS:
                seen, origins, client = self.send(front, REQUESTS[name])
                self.assertEqual(sum(origin.received.count(b"hidden") for origin in origins), 0)
                self.assertIn(b"HTTP/1.1 400 ", client.received)
                self.assertEqual(seen.requests, [])


def ends(verdict: Sequence[Read | None]) -> list[tuple[bytes, bytes]]:
    """The methods and bodies: what targets are is another question."""
    return [(read[0], read[2]) for read in verdict if read is not None]


def _add(front: str, framing: str) -> None:
    def test(self: RequestTests) -> None:
        self.check(front, framing)

    setattr(RequestTests, f"test_{front}_{framing}", test)


for _front in FRONTS:
    for _framing in FRAMINGS:
        _add(_front, _framing)


class ResponseTests(SmugglingTestCase):
    """What clients are sent has one reading, and no server answers a request it was not asked."""

    def ask(self, data: bytes, framing: str) -> tuple[list[Read], MemoryClient]:
        """Ask twice on one connection; the first answer is ``data``. Return what hooks saw."""
        seen: list[Read] = []

        class Answers:
            def response(self, flow: HTTPFlow) -> None:
                response = flow.response
                assert response is not None
                status = b"%d" % response.status_code
                seen.append((status, b"", response.raw_content or b""))

        proxy = MemoryProxy(Answers(), mode="reverse:http://example.test", http_framing=framing)
        try:
            origin = proxy.origin().respond(data, OK)
            client = proxy.client()
            client.send(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
            if not client.received and origin.connections:
                origin.close()
            client.send(b"GET /b HTTP/1.1\r\nHost: x\r\n\r\n")
            return seen, client
        finally:
            proxy.close()

    def check(self, framing: str) -> None:
        wrong = []
        for name, data in RESPONSES.items():
            seen, client = self.ask(data, framing)
            received = client.received
            # What the proxy answered by itself, hooks are not shown; it is the last of all.
            by_h11 = responses_by_h11(received, 2, client.closed)
            if None in by_h11 and framing == "reject":
                wrong.append(f"{name}: h11 refuses {received!r}")
            read = [each for each in by_h11 if each is not None]
            if read[: len(seen)] != seen[: len(read)] or len(read) > len(seen) + 1:
                wrong.append(f"{name}: h11 reads {by_h11}, hooks saw {seen}: {received!r}")
            other = responses_by_httptools(received)
            common = min(len(read), len(other) - (None in other))
            if read[:common] != other[:common]:
                wrong.append(f"{name}: h11 reads {by_h11}, httptools {other}: {received!r}")
            if b"forged" in b"".join(each[2] for each in read[1:]):
                wrong.append(f"{name}: the second answer is forged: {received!r}")
        self.check_none(wrong)

    def test_there_are_enough(self) -> None:
        self.assertGreaterEqual(len(RESPONSES), 50)

    def test_reject(self) -> None:
        self.check("reject")

    def test_repair(self) -> None:
        self.check("repair")

    def test_pass(self) -> None:
        self.check("pass")


LINES = "\r\nTransfer-Encoding: chunked\r\n\r\nGET /hidden HTTP/1.1\r\nHost: x\r\n\r\n"
VALUES = tuple(
    text.replace("\r\n", end)
    for text in (LINES, "x" + LINES, " x" + LINES)
    for end in ("\r\n", "\n", "\r", "\0", "\r\r\n", "\x85", "\u2028")
)


class InjectionTests(SmugglingTestCase):
    """Hooks that put what they were given where it does not belong."""

    def edits(self, text: str) -> dict[str, Callable[[Request], Any]]:
        data = text.encode()

        def fields(*added: tuple[bytes, bytes]) -> Callable[[Request], None]:
            def edit(request: Request) -> None:
                request.headers.fields = (*request.headers.fields, *added)

            return edit

        return {
            "value": lambda request: request.headers.update({"X": text}),
            "name": lambda request: request.headers.update({"X" + text: "y"}),
            "raw value": fields((b"X", data)),
            "raw name": fields((b"X" + data, b"y")),
            "raw length": fields((b"Content-Length", data)),
            "raw coding": fields((b"Transfer-Encoding", data)),
            "method": lambda request: setattr(request, "method", "GET" + text),
            "path": lambda request: setattr(request, "path", "/" + text),
            "host": lambda request: setattr(request, "host", "example.test" + text),
            "raw host": fields((b"Host", data)),
            "version": lambda request: setattr(request, "http_version", "HTTP/1.1" + text),
            "query": lambda request: setattr(request, "query", [("a", text)]),
            "cookie": lambda request: setattr(request, "cookies", [("a", text)]),
            "trailer": lambda request: setattr(
                request, "trailers", Headers.from_wire(((b"X", data),), None)
            ),
            "trailer's name": lambda request: setattr(
                request, "trailers", Headers.from_wire(((b"X" + data, b"y"),), None)
            ),
        }

    def test_requests(self) -> None:
        wrong = []
        for text in VALUES:
            for name, edit in self.edits(text).items():
                for framing in FRAMINGS:
                    wrong += self.inject(f"{name} {text!r} {framing}", edit, framing)
        self.check_none(wrong)

    def inject(self, name: str, edit: Callable[[Request], Any], framing: str) -> list[str]:
        class Editor:
            def request(self, flow: HTTPFlow) -> None:
                try:
                    edit(flow.request)
                except ValueError:
                    flow.kill()

        proxy = MemoryProxy(Editor(), mode="reverse:http://example.test", http_framing=framing)
        try:
            origin = proxy.origin().respond(OK)
            client = proxy.client().send(
                b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"
            )
            client.end()
        finally:
            proxy.close()
        sent = origin.received
        wrong = []
        for judge, read in REQUEST_JUDGES.items():
            found = [each for each in read(sent) if each is not None]
            # One request, with the body that it had.
            if len(found) > 1 or [each[2] for each in found] not in ([], [b"hi"]):
                wrong.append(f"{name}: {judge} reads {found} in {sent!r}")
        return wrong

    def test_responses(self) -> None:
        wrong = []
        for text in VALUES:
            data = text.encode()
            for name, edit in {
                "raw value": lambda response, data=data: (b"X", data),
                "raw name": lambda response, data=data: (b"X" + data, b"y"),
                "raw length": lambda response, data=data: (b"Content-Length", data),
                "raw coding": lambda response, data=data: (b"Transfer-Encoding", data),
                "reason": lambda response, text=text: setattr(response, "reason", "OK" + text),
            }.items():
                wrong += self.inject_into_response(f"{name} {text!r}", edit)
        self.check_none(wrong)

    def inject_into_response(self, name: str, edit: Callable[[Any], Any]) -> list[str]:
        class Editor:
            def response(self, flow: HTTPFlow) -> None:
                assert flow.response is not None
                try:
                    field = edit(flow.response)
                except ValueError:
                    flow.kill()
                else:
                    if field is not None:
                        headers = flow.response.headers
                        headers.fields = (*headers.fields, field)

        proxy = MemoryProxy(Editor(), mode="reverse:http://example.test")
        try:
            proxy.origin().respond(OK)
            client = proxy.client().send(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
            received = client.received
        finally:
            proxy.close()
        found = [each for each in responses_by_httptools(received) if each is not None]
        if len(found) > 1 or (found and found[0][0] == b"200" and found[0][2] != b"ok"):
            return [f"{name}: httptools reads {found} in {received!r}"]
        return []
