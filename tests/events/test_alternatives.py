"""Offers of HTTP/3 do not reach clients."""

from __future__ import annotations

from interceptor.http import HTTPFlow
from tests.events.cases import GET, EventTestCase

OFFER = b'Alt-Svc: h3=":443"; ma=86400, h2=":8443"\r\n'
ANSWER = b"HTTP/1.1 200 OK\r\nserver:x\r\n%bContent-Length: 2\r\n\r\nok"


class AlternativesTests(EventTestCase):
    def test_taken_out_before_hooks_see_them(self) -> None:
        seen: list[list[str]] = []

        def hook(flow: HTTPFlow) -> None:
            assert flow.response is not None
            seen.append(flow.response.headers.get_all("alt-svc"))

        proxy, client, recorder = self.hooked(responseheaders=hook)
        proxy.origin().respond(ANSWER % OFFER)
        client.send(GET)
        self.assertEqual(client.take(), ANSWER % b'Alt-Svc: h2=":8443"\r\n')
        self.assertEqual(seen, [['h2=":8443"']])
        [flow] = recorder.arguments("response")
        self.assertEqual(flow.metadata["alt_svc_removed"], ['h3=":443"; ma=86400'])

    def test_each_response_of_a_connection(self) -> None:
        proxy, client, _ = self.started()
        answer = ANSWER % b'alt-svc: h3=":443"\r\n'
        proxy.origin().respond(answer)
        for _ in range(3):
            client.send(GET)
            self.assertEqual(client.take(), ANSWER % b"")

    def test_informational_responses(self) -> None:
        proxy, client, recorder = self.started()
        early = b"HTTP/1.1 103 Early Hints\r\n%bLink: </a>\r\n\r\n"
        proxy.origin().respond(early % b'Alt-Svc: h3=":1"\r\n' + ANSWER % b'Alt-Svc: h3=":2"\r\n')
        client.send(GET)
        self.assertEqual(client.take(), early % b"" + ANSWER % b"")
        [flow] = recorder.arguments("response")
        self.assertEqual(flow.metadata["alt_svc_removed"], ['h3=":1"', 'h3=":2"'])

    def test_without_hooks(self) -> None:
        proxy = self.proxy()
        proxy.origin().respond(ANSWER % OFFER)
        client = proxy.client().send(GET)
        self.assertEqual(client.take(), ANSWER % b'Alt-Svc: h2=":8443"\r\n')

    def test_option(self) -> None:
        proxy, client, recorder = self.started(keep_h3_offers=True)
        proxy.origin().respond(ANSWER % OFFER)
        client.send(GET)
        self.assertEqual(client.take(), ANSWER % OFFER)
        [flow] = recorder.arguments("response")
        self.assertEqual(flow.metadata, {})

    def test_other_offers_are_left_alone(self) -> None:
        proxy, client, recorder = self.started()
        answer = ANSWER % b'Alt-Svc:  h2=":1" , clear\r\n'
        proxy.origin().respond(answer)
        client.send(GET)
        self.assertEqual(client.take(), answer)
        [flow] = recorder.arguments("response")
        self.assertEqual(flow.metadata, {})
