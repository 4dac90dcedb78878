from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from interceptor.errors import InterceptorError, LocalProtocolError, RemoteProtocolError
from interceptor.testing import read_messages
from interceptor.wire.smtp import Command, Mail, Reply, SMTPCodec

ENVELOPE = (
    (False, b"220 mail.test ESMTP\r\n"),
    (True, b"EHLO me\r\n"),
    (False, b"250-mail.test\r\n250-PIPELINING\r\n250 SIZE 1000\r\n"),
    (True, b"MAIL FROM:<a@x.test> SIZE=10\r\nRCPT TO:<b@y.test>\r\nrcpt to:<c@y.test>\r\nDATA\r\n"),
    (False, b"250 ok\r\n250 ok\r\n550 no\r\n354 go on\r\n"),
)


class CodecTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.codec = SMTPCodec()

    def feed(self, from_client: bool, data: bytes) -> list[Any]:
        self.codec.receive(data, from_client)
        found = []
        while (message := self.codec.next_message(from_client)) is not None:
            self.codec.sent(message)
            found.append(message)
        return found

    def code(self, from_client: bool, data: bytes) -> str:
        """The code of the error that some bytes are."""
        return self.assertRaises(RemoteProtocolError, self.feed, from_client, data).code


class ConversationTests(CodecTestCase):
    def test_a_whole_one(self) -> None:
        mail = b"Subject: x\r\n\r\n..dots\r\n...\r\nend\r\n.\r\n"
        messages = read_messages(
            SMTPCodec,
            *ENVELOPE,
            (True, mail),
            (False, b"250 queued\r\n"),
            (True, b"QUIT\r\n"),
            (False, b"221 bye\r\n"),
        )
        self.assertEqual(
            [str(each) for each in messages],
            [
                "220 mail.test ESMTP",
                "EHLO me",
                "250 mail.test / PIPELINING / SIZE 1000",
                "MAIL FROM:<a@x.test> SIZE=10",
                "RCPT TO:<b@y.test>",
                "RCPT to:<c@y.test>",
                "DATA",
                "250 ok",
                "250 ok",
                "550 no",
                "354 go on",
                "(30 bytes of mail)",
                "250 queued",
                "QUIT",
                "221 bye",
            ],
        )
        found = messages[11]
        self.assertEqual(found.content, b"Subject: x\r\n\r\n.dots\r\n..\r\nend\r\n")
        self.assertEqual((found.sender, found.recipients), ("a@x.test", ("b@y.test",)))
        self.assertEqual(SMTPCodec().encode(found), mail)
        self.assertIsNone(messages[0].command)
        self.assertIs(messages[2].command, messages[1])
        self.assertIs(messages[12].command, found)

    def test_an_empty_mail(self) -> None:
        *_, mail = read_messages(SMTPCodec, *ENVELOPE, (True, b".\r\n"))
        self.assertEqual((mail.content, SMTPCodec().encode(mail)), (b"", b".\r\n"))

    def test_a_mail_that_is_refused_before(self) -> None:
        for piece in ENVELOPE[:4]:
            self.feed(*piece)
        self.feed(False, b"250 ok\r\n250 ok\r\n550 no\r\n554 no\r\n")
        (command,) = self.feed(True, b"RSET\r\n")
        self.assertEqual(command.verb, "RSET")

    def test_the_client_waits_for_the_reply_to_data(self) -> None:
        for piece in ENVELOPE[:4]:
            self.feed(*piece)
        self.assertEqual(self.feed(True, b"QUIT\r\n.\r\n"), [])
        self.feed(False, b"250 ok\r\n250 ok\r\n550 no\r\n354 go on\r\n")
        self.assertIsInstance(self.feed(True, b"")[0], Mail)

    def test_a_mail_as_an_object(self) -> None:
        mail = Mail(b"Subject: one\r\n\r\ntext\r\n")
        changed = mail.email
        changed.replace_header("Subject", "two")
        mail.email = changed
        self.assertEqual(mail.content, b"Subject: two\r\n\r\ntext\r\n")

    def test_ends_that_only_some_see(self) -> None:
        for middle in (b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r", b"\n.\r"):
            self.codec = SMTPCodec()
            for piece in ENVELOPE:
                self.feed(*piece)
            data = b"a" + middle + b"MAIL FROM:<x>\r\n.\r\n"
            self.assertEqual(self.code(True, data), "smtp-smuggling", middle)

    def test_chunks(self) -> None:
        for piece in ENVELOPE[:3]:
            self.feed(*piece)
        one, two, quit_ = self.feed(True, b"BDAT 5\r\na\r\n.\rBDAT 2 LAST\r\n\r\nQUIT\r\n")
        self.assertEqual((one.data, two.data, quit_.verb), (b"a\r\n.\r", b"\r\n", "QUIT"))
        two.data = b"more\r\n"
        self.assertEqual(self.codec.encode(two), b"BDAT 6 LAST\r\nmore\r\n")

    def test_identification(self) -> None:
        self.feed(*ENVELOPE[0])
        (auth,) = self.feed(True, b"AUTH LOGIN\r\nYW5uYQ==\r\n")
        self.feed(False, b"334 VXNlcm5hbWU6\r\n")
        self.codec.receive(b"c2VjcmV0\r\n", True)
        (user,) = self.feed(True, b"")
        self.assertEqual((auth.verb, user.verb, user.argument), ("AUTH", "", "YW5uYQ=="))
        self.feed(False, b"334 UGFzc3dvcmQ6\r\n")
        (password,) = self.feed(True, b"")
        self.assertEqual((str(password), self.codec.encode(password)), ("…", b"c2VjcmV0\r\n"))
        self.feed(False, b"235 welcome\r\n")
        self.assertEqual(self.feed(True, b"NOOP\r\n")[0].verb, "NOOP")
        self.assertEqual(str(Command("AUTH", "PLAIN AGEAYg==")), "AUTH PLAIN …")

    def test_answers_of_our_own(self) -> None:
        self.feed(*ENVELOPE[0])
        self.codec.receive(b"NOOP\r\nVRFY me\r\n", True)
        noop: Any = self.codec.next_message(True)
        self.codec.sent(noop)
        verify: Any = self.codec.next_message(True)
        verify.answer(252, "who knows")
        self.codec.dropped(verify)
        first, second = self.feed(False, b"250 ok\r\n")
        self.assertIs(first.command, noop)
        self.assertEqual((second.code, second.command), (252, verify))

    def test_tls(self) -> None:
        for piece in ENVELOPE[:3]:
            self.feed(*piece)
        self.feed(True, b"STARTTLS\r\n")
        self.assertIsNone(self.codec.next_layer)
        self.feed(False, b"220 go\r\n")
        self.assertEqual(self.codec.next_layer, "tls")

    def test_tls_that_is_refused(self) -> None:
        for piece in ENVELOPE[:3]:
            self.feed(*piece)
        self.feed(True, b"STARTTLS\r\n")
        self.feed(False, b"454 not now\r\n")
        self.assertIsNone(self.codec.next_layer)
        self.assertEqual(len(self.feed(True, b"NOOP\r\n")), 1)

    def test_what_is_said_before_tls_is_not_said_in_tls(self) -> None:
        for piece in ENVELOPE[:3]:
            self.feed(*piece)
        self.feed(True, b"STARTTLS\r\nNOOP\r\n")
        self.assertEqual(self.code(False, b"220 go\r\n"), "starttls-injection")


class FaultTests(CodecTestCase):
    def test_what_is_no_command(self) -> None:
        for data in (
            b"\r\n",
            b"1\r\n",
            b"NOOP\rMAIL\r\n",
            b"NOOP\0\r\n",
            b"BDAT x\r\n",
            b"GET: \r\n",
        ):
            self.codec = SMTPCodec()
            self.assertEqual(self.code(True, data), "smtp-malformed", data)

    def test_what_is_no_reply(self) -> None:
        for data in (b"hello\r\n", b"2500 x\r\n", b"100 x\r\n", b"250+x\r\n", b"\r\n"):
            self.codec = SMTPCodec()
            self.assertEqual(self.code(False, data), "smtp-malformed", data)
        self.assertEqual(self.code(False, b"250-x\r\n" * 1002), "smtp-malformed")

    def test_chunks_are_bounded(self) -> None:
        self.assertEqual(self.code(True, b"BDAT 999999999\r\n"), "message-too-large")

    def test_mails_are_bounded(self) -> None:
        self.codec.limit = 1000
        for piece in ENVELOPE:
            self.feed(*piece)
        self.assertEqual(self.code(True, b"x" * 1500), "message-too-large")

    def test_line_ends_of_hooks(self) -> None:
        for message in (Command("MAIL", "a\r\nRCPT"), Reply(250, ["a\nb"])):
            error = self.assertRaises(LocalProtocolError, self.codec.encode, message)
            self.assertEqual(error.code, "smtp-invalid")

    def test_last_words(self) -> None:
        words = self.codec.refusal(InterceptorError("no\r\nway", "some-code"))
        self.assertEqual(words, b"421 4.3.0 proxy: some-code: no way\r\n")
