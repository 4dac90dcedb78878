"""SMTP through a proxy in memory."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from interceptor.net.memory import HalfCloseRecorder
from interceptor.net.memorytls import MemoryTLS, origin_authority
from interceptor.testing import EventRecorder, MemoryProxy

MAIL = b"Subject: hello\r\n\r\nThe word is secret.\r\n"


class SMTPTests(SynchronousTestCase):
    def start(self, *addons: object, **options: Any) -> None:
        options.setdefault("mode", "reverse:smtp://mail.test")
        self.proxy = MemoryProxy(*addons, **options)
        self.addCleanup(self.proxy.close)
        self.origin = self.proxy.origin("mail.test", 25)
        self.client = self.proxy.client()
        self.proxy.advance(1)

    def talk(self, *exchanges: tuple[bytes, bytes]) -> None:
        for said, answered in exchanges:
            self.client.send(said)
            self.origin.send(answered)

    def test_a_mail(self) -> None:
        def change(flow: Any) -> None:
            flow.message.content = flow.message.content.replace(b"secret", b"*****")

        recorder = EventRecorder("smtp_start", "smtp_command", "smtp_reply", smtp_mail=change)
        self.start(recorder)
        self.origin.send(b"220 hello\r\n")
        self.talk(
            (b"EHLO me\r\n", b"250 ok\r\n"),
            (b"MAIL FROM:<a@x>\r\n", b"250 ok\r\n"),
            (b"RCPT TO:<b@x>\r\n", b"250 ok\r\n"),
            (b"DATA\r\n", b"354 ok\r\n"),
            (MAIL + b".\r\n", b"250 ok\r\n"),
        )
        self.assertIn(b"The word is *****.\r\n.\r\n", self.origin.received)
        self.assertTrue(self.client.received.startswith(b"220 hello\r\n250 ok\r\n"))
        names = ["smtp_start", "smtp_reply"]
        names += ["smtp_command", "smtp_reply"] * 4 + ["smtp_mail", "smtp_reply"]
        self.assertEqual(recorder.names, names)

    def test_a_recipient_that_is_refused(self) -> None:
        def refuse(flow: Any) -> None:
            if flow.message.verb == "RCPT":
                flow.message.answer(550, "5.7.1 not to them")

        self.start(EventRecorder(smtp_command=refuse))
        self.origin.send(b"220 hello\r\n")
        self.client.send(b"RCPT TO:<b@x>\r\n")
        self.assertEqual(self.client.received, b"220 hello\r\n550 5.7.1 not to them\r\n")
        self.assertEqual(self.origin.received, b"")

    def test_starttls(self) -> None:
        recorder = EventRecorder("smtp_start", "smtp_command", "smtp_end", "tls_established")
        self.start(recorder)
        self.origin.send(b"220 hello\r\n")
        self.talk((b"EHLO me\r\n", b"250 STARTTLS\r\n"), (b"STARTTLS\r\n", b"220 go\r\n"))
        self.client.take()
        inside = HalfCloseRecorder()
        tls = MemoryTLS(origin_authority().context("mail.test"), inside, server=True)
        tls.take_over(self.origin.connections[0].transport)
        self.client.start_tls("mail.test", alpn=()).send(b"EHLO me\r\n")
        self.assertEqual(inside.data, b"EHLO me\r\n")
        inside.write(b"250 ok\r\n")
        self.proxy.flush()
        self.assertEqual(self.client.received, b"250 ok\r\n")
        self.assertEqual(
            recorder.names,
            [
                *("smtp_start", "smtp_command", "smtp_command", "smtp_end"),
                *("tls_established", "tls_established", "smtp_start", "smtp_command"),
            ],
        )

    def test_no_server(self) -> None:
        recorder = EventRecorder("smtp_error")
        self.start(recorder)
        self.proxy.network.refuse(("mail.test", 25))
        client = self.proxy.client().send(b"EHLO me\r\n")
        self.assertTrue(client.received.startswith(b"421 4.3.0 proxy: connect-refused: "))
        self.assertEqual(len(recorder.events), 1)

    def test_a_server_of_something_else(self) -> None:
        self.start()
        self.origin.send(b"SSH-2.0-x\r\n")
        self.assertIn(b"421 4.3.0 proxy: smtp-malformed: ", self.client.received)
