"""Connections that are left alone: by options, by hooks, and by what clients that pin teach."""

from __future__ import annotations

import ssl
from typing import Any

from interceptor.layers.passthrough import REFUSALS, Passthrough
from interceptor.net.memorytls import client_context, origin_authority
from interceptor.testing import (
    EventRecorder,
    MemoryClient,
    MemoryOrigin,
    MemoryProxy,
    MemoryTLS,
    TestClock,
    make_options,
)
from interceptor.wire.tlsalert import alert_record
from tests.events.cases import Hooks
from tests.layers.tlscases import HOST, OK, TLSLayerTestCase


class PassthroughTestCase(TLSLayerTestCase):
    def origins_client(self, proxy: MemoryProxy, host: str | None = HOST) -> MemoryClient:
        """A client that trusts the origin alone: it gets through only if it is left alone."""
        context = client_context(
            origin_authority().path, ("h2", "http/1.1"), check_names=host is not None
        )
        return proxy.tls_client(HOST if host is None else host, context=context)

    def passes(self, client: MemoryClient) -> bool:
        if not client.tls.established:
            return False
        self.assertEqual(self.get(client).status_code, 200)
        return True

    def started(self, *addons: object, **options: Any) -> Any:
        proxy, recorder = self.tls(*addons, **options)
        # The origin chooses h2, which no connection that we open would offer.
        origin = proxy.tls_origin(alpn=("h2", "http/1.1")).respond(OK)
        return proxy, origin, recorder


class OptionTests(PassthroughTestCase):
    """``ignore_hosts`` and ``allow_hosts``."""

    def test_ignored_by_host(self):
        proxy, _origin, recorder = self.started(ignore_hosts=[r"^EXAMPLE\.test:443$"])
        client = self.origins_client(proxy)
        self.assertTrue(client.tls.established, client.tls.error)
        self.assertEqual(client.tls.tls.selected_alpn_protocol(), "h2")
        self.assertEqual(recorder.names.count("tls_clienthello"), 1)
        self.assertEqual(recorder.names.count("tls_established"), 0)
        self.assertEqual(recorder.arguments("tcp_start")[0].metadata["passthrough"], "ignore_hosts")

    def test_others_are_opened(self):
        proxy, _, _ = self.started(ignore_hosts=[r"other\.test"])
        self.assertFalse(self.passes(self.origins_client(proxy)))

    def test_ignored_by_sni(self):
        proxy, _ = self.tls(ignore_hosts=[r"^example\.test:"])
        proxy.tls_origin("192.0.2.9", context=origin_authority().context(HOST)).respond(OK)
        client = proxy.client().connect("192.0.2.9", 443)
        client.start_tls(HOST, context=client_context(origin_authority().path))
        self.assertTrue(self.passes(client))

    def test_ignored_by_address(self):
        proxy, _ = self.tls(ignore_hosts=[r"^192\.0\.2\."])
        proxy.tls_origin("192.0.2.9", context=origin_authority().context(HOST)).respond(OK)
        client = proxy.client().connect("192.0.2.9", 443)
        client.start_tls(HOST, context=client_context(origin_authority().path))
        self.assertTrue(self.passes(client))

    def test_allowed(self):
        proxy, _, _ = self.started(allow_hosts=[r"^example\.test:443$"])
        self.assertTrue(self.passes(proxy.tls_client()))

    def test_not_allowed(self):
        proxy, _, recorder = self.started(allow_hosts=[r"^other\.test:443$"])
        client = self.origins_client(proxy)
        self.assertTrue(client.tls.established)
        self.assertEqual(recorder.arguments("tcp_start")[0].metadata["passthrough"], "allow_hosts")

    def test_lazy(self):
        proxy, origin, _ = self.started(ignore_hosts=["example"], connection_strategy="lazy")
        self.assertTrue(self.origins_client(proxy).tls.established)
        self.assertEqual(len(origin.handshakes), 1)

    def test_reverse_mode(self):
        proxy, _, _ = self.started(ignore_hosts=["example"], mode="reverse:https://example.test")
        self.assertTrue(self.origins_client(proxy).tls.established)

    def test_byte_by_byte(self):
        proxy, _, _ = self.started(ignore_hosts=["example"], chunk=1)
        self.assertTrue(self.origins_client(proxy).tls.established)

    def test_a_change_counts_from_the_next_connection_on(self):
        proxy, _, _ = self.started()
        self.assertFalse(self.passes(self.origins_client(proxy)))
        proxy.options.update(ignore_hosts=["example"])
        self.assertTrue(self.origins_client(proxy).tls.established)

    def test_tls_with_the_proxy_itself_is_never_left_alone(self):
        proxy, _, _ = self.started(ignore_hosts=["."])
        client = proxy.client()
        client.start_tls("proxy.test")
        self.assertTrue(client.tls.established, client.tls.error)


class HookTests(PassthroughTestCase):
    """``tls_clienthello`` decides."""

    def test_passthrough(self):
        def leave_alone(hello: Any) -> None:
            hello.passthrough = hello.sni == HOST

        proxy, _, recorder = self.started(Hooks(tls_clienthello=leave_alone))
        self.assertTrue(self.origins_client(proxy).tls.established)
        [flow] = recorder.arguments("tcp_start")
        self.assertEqual(flow.metadata["passthrough"], "tls_clienthello")
        self.assertEqual(flow.server_conn.address, (HOST, 443))
        self.assertEqual(flow.client_conn.sni, HOST)

    def test_not_a_byte_changes(self):
        proxy, _, recorder = self.started(ignore_hosts=["example"])
        client = self.origins_client(proxy)
        self.assertTrue(client.tls.established)
        messages = recorder.arguments("tcp_start")[0].messages
        sent = b"".join(each.content for each in messages if each.from_client)
        [event] = recorder.arguments("tls_clienthello")
        self.assertTrue(sent.startswith(event.client_hello.raw))

    def test_the_end_of_the_flow(self):
        proxy, origin, recorder = self.started(ignore_hosts=["example"])
        client = self.origins_client(proxy)
        client.close()
        origin.close()
        proxy.advance(10)
        self.assertEqual(recorder.names.count("tcp_end"), 1)
        [flow] = recorder.arguments("tcp_end")
        self.assertGreater(flow.bytes_from_client, 200)
        self.assertGreater(flow.bytes_from_server, 200)


class LearningTests(PassthroughTestCase):
    """``tls_passthrough_learn``."""

    def learning(self, **options: Any) -> tuple[MemoryProxy, MemoryOrigin, EventRecorder]:
        return self.started(tls_passthrough_learn=True, **options)

    def learned(self, proxy: MemoryProxy) -> dict[str, float]:
        return proxy.environment.passthrough.entries()

    def test_next_attempt_passes(self):
        proxy, _, recorder = self.learning()
        self.assertFalse(self.passes(self.origins_client(proxy)))
        self.assertEqual(self.learned(proxy), {"example.test:443": 3600.0})
        client = self.origins_client(proxy)
        self.assertTrue(client.tls.established)
        self.assertEqual(recorder.arguments("tcp_start")[0].metadata["passthrough"], "learned")

    def test_off_by_default(self):
        proxy, _, _ = self.started()
        self.assertFalse(self.passes(self.origins_client(proxy)))
        self.assertEqual(self.learned(proxy), {})
        self.assertFalse(self.passes(self.origins_client(proxy)))

    def test_other_hosts_and_ports_are_opened(self):
        proxy, _, _ = self.learning()
        proxy.tls_origin("other.test").respond(OK)
        proxy.tls_origin(port=8443).respond(OK)
        self.assertFalse(self.passes(self.origins_client(proxy)))
        self.assertTrue(self.passes(proxy.tls_client("other.test")))
        self.assertTrue(self.passes(proxy.tls_client(port=8443)))

    def test_for_a_time(self):
        proxy, _, _ = self.learning(tls_passthrough_ttl=60)
        self.assertFalse(self.passes(self.origins_client(proxy)))
        proxy.advance(59)
        self.assertTrue(self.origins_client(proxy).tls.established)
        proxy.advance(2)
        self.assertEqual(self.learned(proxy), {})
        self.assertTrue(self.passes(proxy.tls_client()))

    def test_removable(self):
        proxy, _, _ = self.learning()
        self.assertFalse(self.passes(self.origins_client(proxy)))
        passthrough = proxy.environment.passthrough
        self.assertTrue(passthrough.remove("example.test:443"))
        self.assertFalse(passthrough.remove("example.test:443"))
        self.assertTrue(self.passes(proxy.tls_client()))

    def test_lazy_learns_too(self):
        proxy, _, _ = self.learning(connection_strategy="lazy")
        self.assertFalse(self.passes(self.origins_client(proxy)))
        self.assertEqual(list(self.learned(proxy)), ["example.test:443"])

    def test_alerts(self):
        for alert in (*range(40, 52), 0, 70, 80, 90, 112, 116, 120):
            proxy, _, _ = self.learning()
            client = proxy.client().connect(HOST, 443)
            client.send(self.hello(proxy, ssl.TLSVersion.TLSv1_2))
            client.send(alert_record(alert))
            self.assertEqual(bool(self.learned(proxy)), alert in REFUSALS, alert)
            proxy.close()

    def hello(self, proxy: MemoryProxy, maximum: ssl.TLSVersion) -> bytes:
        context = self.client_context(proxy, "http/1.1")
        context.maximum_version = maximum
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_hostname=HOST)
        self.assertRaises(ssl.SSLWantReadError, tls.do_handshake)
        return outgoing.read()

    def test_early_disconnects_teach_nothing(self):
        proxy, _, _ = self.learning()
        for number in range(100):
            client = proxy.client().connect(HOST, 443)
            # Browsers open connections in advance, and drop them at any time.
            end = (client.abort, client.close, client.end)[number % 3]
            stage = number % 5
            if stage:
                hello = self.hello(proxy, ssl.TLSVersion.TLSv1_3)
                client.peer.write(hello[: (0, 20, len(hello), len(hello), len(hello))[stage]])
                for _ in range((0, 1, 3, 6, 100)[stage]):
                    proxy.network.pump()
            end()
            proxy.flush()
        proxy.advance(30)
        self.assertEqual(self.learned(proxy), {})

    def test_disconnects_after_the_handshake_teach_nothing(self):
        proxy, _, _ = self.learning()
        for end in ("close", "abort", "end"):
            getattr(proxy.tls_client(), end)()
        self.assertEqual(self.learned(proxy), {})

    def test_tls_with_the_proxy_itself_teaches_nothing(self):
        proxy, _, _ = self.learning()
        client = proxy.client()
        client.start_tls("proxy.test", context=ssl.create_default_context())
        self.assertFalse(client.tls.established)
        self.assertEqual(self.learned(proxy), {})

    def test_versions(self):
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            proxy, _, _ = self.learning()
            context = ssl.create_default_context()
            context.minimum_version = context.maximum_version = version
            client = proxy.tls_client(context=context)
            self.assertIsInstance(client.tls, MemoryTLS)
            self.assertEqual(len(self.learned(proxy)), 1)


class ListTests(TLSLayerTestCase):
    """The list of what was learned, by itself."""

    def test_is_bounded(self):
        passthrough = Passthrough(TestClock(), make_options(tls_passthrough_learn=True))
        for number in range(10_050):
            passthrough.refused(f"host{number}.test", 443, 48)
        entries = passthrough.entries()
        self.assertEqual(len(entries), 10_000)
        self.assertNotIn("host0.test:443", entries)
        passthrough.clear()
        self.assertEqual(passthrough.entries(), {})

    def test_switching_learning_off_keeps_what_was_learned(self):
        options = make_options(tls_passthrough_learn=True)
        passthrough = Passthrough(TestClock(), options)
        passthrough.refused("example.test", 443, 46)
        options.update(tls_passthrough_learn=False)
        passthrough.configure(options)
        self.assertFalse(passthrough.refused("other.test", 443, 46))
        self.assertEqual(passthrough.reason(443, ["example.test"]), "learned")
