"""The moment at which TLS begins: seven protocols, and any other one."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator
from typing import ClassVar

from twisted.trial.unittest import SynchronousTestCase

from interceptor.errors import RemoteProtocolError
from interceptor.wire.starttls import GENERIC, PROTOCOLS, Phase, StartTLSWatch
from tests.wire.hellos import by_pyopenssl

HELLO = by_pyopenssl()
EVERY = (*PROTOCOLS, GENERIC)

# What is said up to the moment: whose words, and what. The last ones agree.
SMTP = [
    (False, b"220-mail.test ESMTP\r\n220 welcome\r\n"),
    (True, b"EHLO client.test\r\n"),
    (False, b"250-mail.test\r\n250-PIPELINING\r\n250 STARTTLS\r\n"),
    (True, b"STARTTLS\r\n"),
    (False, b"220 2.0.0 Ready to start TLS\r\n"),
]
IMAP = [
    (False, b"* OK [CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED] ready\r\n"),
    (True, b"a1 CAPABILITY\r\n"),
    (False, b"* CAPABILITY IMAP4rev1 STARTTLS\r\na1 OK done\r\n"),
    (True, b"a2 starttls\r\n"),
    (False, b"* an untagged line\r\na2 OK Begin TLS negotiation now\r\n"),
]
POP3 = [
    (False, b"+OK POP3 ready\r\n"),
    (True, b"CAPA\r\n"),
    (False, b"+OK Capability list follows\r\nSTLS\r\nUSER\r\n.\r\n"),
    (True, b"STLS\r\n"),
    (False, b"+OK Begin TLS\r\n"),
]
SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"
GSS_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x30"
POSTGRESQL = [(True, SSL_REQUEST), (False, b"S")]
POSTGRESQL_GSS = [(True, GSS_REQUEST), (False, b"N"), *POSTGRESQL]


def mysql_greeting(capabilities: int = 0xFFFF) -> bytes:
    payload = (
        (b"\x0a8.0.36\0" + b"\x01\0\0\0" + b"12345678\0" + capabilities.to_bytes(2, "little"))
        + b"\xff\x02\0\xff\xdf\x15"
        + bytes(10)
        + b"abcdefghijkl\0caching_sha2_password\0"
    )
    return len(payload).to_bytes(3, "little") + b"\0" + payload


def mysql_request(capabilities: int = 0x0AFF) -> bytes:
    payload = capabilities.to_bytes(4, "little") + b"\0\0\0\1" + b"\xff" + bytes(23)
    return len(payload).to_bytes(3, "little") + b"\1" + payload


MYSQL = [(False, mysql_greeting()), (True, mysql_request())]
XMPP = [
    (True, b"<?xml version='1.0'?><stream:stream to='x.test' xmlns:stream='s' attr='a>b'>\n"),
    (False, b"<?xml version='1.0'?><stream:stream from='x.test' xmlns:stream='s'>"),
    (False, b"<stream:features><starttls xmlns='urn:x'><required/></starttls></stream:features>"),
    (True, b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"),
    (False, b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"),
]


def ber(tag: int, *content: bytes) -> bytes:
    """One element, with its length in one octet or, as some servers have it, in four."""
    body = b"".join(content)
    if len(body) < 0x80:
        return bytes((tag, len(body))) + body
    return bytes((tag, 0x84)) + len(body).to_bytes(4, "big") + body


def ldap_request(number: int = 1, oid: bytes = b"1.3.6.1.4.1.1466.20037") -> bytes:
    return ber(0x30, ber(2, bytes((number,))), ber(0x77, ber(0x80, oid)))


def ldap_response(number: int = 1, result: int = 0, text: bytes = b"") -> bytes:
    return ber(
        0x30,
        ber(2, bytes((number,))),
        ber(0x78, ber(0x0A, bytes((result,))), ber(4), ber(4, text)),
    )


LDAP = [(True, ldap_request(2)), (False, ldap_response(2, text=b"t" * 200))]

CONVERSATIONS = {
    "smtp": SMTP,
    "imap": IMAP,
    "pop3": POP3,
    "postgresql": POSTGRESQL,
    "mysql": MYSQL,
    "xmpp": XMPP,
    "ldap": LDAP,
}


class Wire:
    """A connection that is watched, as the layer above handles it."""

    def __init__(self, protocols: Collection[str] = EVERY) -> None:
        self.watch = StartTLSWatch(protocols)
        self.passed = {True: b"", False: b""}

    @property
    def phase(self) -> Phase:
        return self.watch.phase

    def say(self, from_client: bool, data: bytes) -> None:
        watch = self.watch
        passing = (watch.client_sent if from_client else watch.server_sent)(data)
        self.passed[from_client] += passing
        while watch.phase in (Phase.PLAIN, Phase.OVER):
            held = watch.release()
            if not held:
                break
            self.passed[True] += held

    def client(self, data: bytes) -> None:
        self.say(True, data)

    def server(self, data: bytes) -> None:
        self.say(False, data)

    def talk(self, conversation: list[tuple[bool, bytes]], size: int = 65536) -> Wire:
        for from_client, data in conversation:
            for start in range(0, len(data), size):
                self.say(from_client, data[start : start + size])
        return self


def said(conversation: list[tuple[bool, bytes]], from_client: bool) -> bytes:
    return b"".join(data for who, data in conversation if who is from_client)


class WatchTestCase(SynchronousTestCase):
    def injected(self, wire: Wire, from_client: bool, data: bytes) -> str:
        """Say what ends the connection; return the message."""
        with self.assertRaises(RemoteProtocolError) as raised:
            wire.say(from_client, data)
        self.assertEqual(raised.exception.code, "starttls-injection")
        return str(raised.exception)


class AgreementTests(WatchTestCase):
    """TLS begins when the server has agreed, and no sooner."""

    def agreed(self, name: str, conversation: list[tuple[bool, bytes]]) -> None:
        for size in (65536, 1, 2, 3, 7):
            wire = Wire().talk(conversation[:-1], size)
            before = (Phase.PLAIN,) if name == "mysql" else (Phase.ASKED,)
            self.assertIn(wire.phase, before, (name, size))
            wire.talk(conversation[-1:], size)
            self.assertIs(wire.phase, Phase.AGREED, (name, size))
            self.assertEqual(wire.watch.protocol, name)
            self.assertEqual(wire.watch.hello, b"")
            for who in (True, False):
                self.assertEqual(wire.passed[who], said(conversation, who), (name, size))

    def test_each_protocol(self):
        self.assertEqual(tuple(CONVERSATIONS), PROTOCOLS)
        for name, conversation in CONVERSATIONS.items():
            self.agreed(name, conversation)

    def test_postgresql_after_gssapi(self):
        self.agreed("postgresql", POSTGRESQL_GSS)

    def test_the_hello_is_what_comes_next(self):
        for name, conversation in CONVERSATIONS.items():
            wire = Wire().talk(conversation)
            wire.client(HELLO[:5])
            wire.client(HELLO[5:])
            self.assertEqual(wire.watch.hello, HELLO, name)
            self.assertEqual(wire.passed[True], said(conversation, True), name)

    def test_mysql_clients_do_not_wait(self):
        wire = Wire().talk(MYSQL[:1])
        wire.client(mysql_request() + HELLO)
        self.assertIs(wire.phase, Phase.AGREED)
        self.assertEqual((wire.passed[True], wire.watch.hello), (mysql_request(), HELLO))

    def test_a_hello_right_behind_the_request(self):
        for name, conversation in CONVERSATIONS.items():
            if name == "mysql":
                continue
            wire = Wire().talk(conversation[:-2])
            wire.client(conversation[-2][1] + HELLO)
            self.assertEqual(wire.passed[True], said(conversation, True), name)
            wire.server(conversation[-1][1])
            self.assertIs(wire.phase, Phase.AGREED)
            self.assertEqual(wire.watch.hello, HELLO)

    def test_any_other_protocol(self):
        for hello in (HELLO, by_pyopenssl(alpn=[b"other"])):
            for size in (65536, 1):
                wire = Wire().talk(
                    [(True, b"TLS please\n"), (False, b"fine\n"), (True, hello)], size
                )
                self.assertIs(wire.phase, Phase.AGREED)
                self.assertEqual(wire.watch.protocol, GENERIC)
                self.assertEqual(wire.watch.hello, hello)
                self.assertEqual(wire.passed, {True: b"TLS please\n", False: b"fine\n"})

    def test_at_any_time(self):
        plain = bytes(range(256)) * 1024
        wire = Wire().talk([(True, plain), (False, plain)] * 3 + [(True, b"\n"), (False, b"ok")])
        self.assertTrue(wire.watch.waits_for_hello)
        wire.client(HELLO)
        self.assertIs(wire.phase, Phase.AGREED)

    def test_lmtp_and_lower_case_and_bare_line_feeds(self):
        wire = Wire().talk([(False, b"220 lmtp\n"), (True, b"lhlo x\n"), (False, b"250 hi\n")])
        wire.client(b"  starttls \n")
        self.assertIs(wire.phase, Phase.ASKED)
        wire.server(b"220\n")
        self.assertIs(wire.phase, Phase.AGREED)

    def test_pipelined_commands_before_the_request(self):
        wire = Wire().talk([(False, b"220 hi\r\n"), (True, b"EHLO x\r\nNOOP\r\nSTARTTLS\r\n")])
        self.assertIs(wire.phase, Phase.ASKED)
        wire.talk([(False, b"250-x\r\n250 y\r\n250 ok\r\n220 go\r\n")], 5)
        self.assertIs(wire.phase, Phase.AGREED)
        wire = Wire().talk([(False, b"+OK hi\r\n"), (True, b"CAPA\r\nNOOP\r\nSTLS\r\n")])
        wire.server(b"+OK list\r\nSTLS\r\n.\r\n-ERR what?\r\n")
        self.assertIs(wire.phase, Phase.ASKED)
        wire.server(b"+OK go\r\n")
        self.assertIs(wire.phase, Phase.AGREED)
        wire = Wire().talk([(False, b"* OK hi\r\n"), (True, b"a NOOP\r\nab STARTTLS\r\n")])
        wire.server(b"a OK done\r\n")
        self.assertIs(wire.phase, Phase.ASKED)

    def test_pipelined_elements_of_xmpp(self):
        wire = Wire()
        wire.client(XMPP[0][1] + XMPP[3][1])
        self.assertIs(wire.phase, Phase.ASKED)
        wire.server(XMPP[1][1] + XMPP[2][1] + XMPP[4][1])
        self.assertIs(wire.phase, Phase.AGREED)

    def test_other_spellings_in_xmpp(self):
        wire = Wire().talk(XMPP[:3])
        wire.client(b"<t:starttls xmlns:t='urn:ietf:params:xml:ns:xmpp-tls'></t:starttls>\n")
        self.assertIs(wire.phase, Phase.ASKED)
        wire.server(b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'></proceed>\n")
        self.assertIs(wire.phase, Phase.AGREED)
        self.assertEqual(wire.watch.hello, b"")

    def test_other_messages_of_ldap(self):
        search = ber(0x30, ber(2, b"\1"), ber(0x63, b"s" * 5000))
        found = ber(0x30, ber(2, b"\1"), ber(0x64, ber(0x0A, b"\1"), b"f" * 300))
        for size in (65536, 1):
            wire = Wire().talk([(True, search + ldap_request(2, b"1.2.3")), (False, found)], size)
            wire.talk([(True, ldap_request(3)), (False, ldap_response(2))], size)
            self.assertIs(wire.phase, Phase.ASKED)
            wire.talk([(False, ldap_response(3))], size)
            self.assertIs(wire.phase, Phase.AGREED)


class RefusalTests(WatchTestCase):
    """A server that does not speak TLS is left in plain text, and can be asked again."""

    REFUSALS: ClassVar = {
        "smtp": b"454 TLS not available\r\n",
        "imap": b"a2 BAD what?\r\n",
        "pop3": b"-ERR no\r\n",
        "postgresql": b"N",
        "ldap": ldap_response(2, 52),
        "xmpp": b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:stream>",
    }

    def test_what_was_held_back_goes_on(self):
        for name, refusal in self.REFUSALS.items():
            conversation = CONVERSATIONS[name]
            wire = Wire().talk(conversation[:-2])
            wire.client(conversation[-2][1] + b"\x01more")
            wire.client(b" and more")
            self.assertEqual(wire.passed[True], said(conversation, True), name)
            wire.server(refusal)
            self.assertIs(wire.phase, Phase.PLAIN, name)
            self.assertEqual(
                wire.passed[True], said(conversation, True) + b"\x01more and more", name
            )

    def test_asking_again(self):
        for name, refusal in self.REFUSALS.items():
            if name == "xmpp":
                continue
            wire = Wire().talk(CONVERSATIONS[name][:-1])
            wire.server(refusal)
            self.assertIs(wire.phase, Phase.PLAIN, name)
            wire.talk(CONVERSATIONS[name][-2:], 1)
            self.assertIs(wire.phase, Phase.AGREED, name)

    def test_mysql_without_tls(self):
        for greeting, answer in (
            (mysql_greeting(0xF7FF), mysql_request()),
            (mysql_greeting(), mysql_request(0x02FF)),
            (b"\x10\0\0\0\xffToo many of you", mysql_request()),
        ):
            wire = Wire().talk([(False, greeting), (True, answer)])
            self.assertIs(wire.phase, Phase.PLAIN)
            self.assertEqual(wire.passed, {True: answer, False: greeting})

    def test_postgresql_in_plain_text(self):
        startup = b"\x00\x00\x00\x10\x00\x03\x00\x00user\0me\0"
        for first in ([], [(True, SSL_REQUEST), (False, b"N")]):
            wire = Wire().talk([*first, (True, startup), (False, b"R\0\0\0\x0c\0\0\0\5salt")])
            self.assertTrue(wire.watch.waits_for_hello)

    def test_postgresql_with_gssapi(self):
        wire = Wire().talk([(True, GSS_REQUEST), (False, b"G")])
        self.assertTrue(wire.watch.waits_for_hello)

    def test_an_error_of_postgresql(self):
        wire = Wire().talk([(True, SSL_REQUEST), (False, b"EFATAL no\0")])
        self.assertTrue(wire.watch.waits_for_hello)
        wire.client(b"x")
        self.assertEqual(wire.passed[True], SSL_REQUEST + b"x")


class InjectionTests(WatchTestCase):
    """Plain text cannot get over the moment (CVE-2011-0411, CVE-2021-23222 and their kin)."""

    def test_behind_the_request(self):
        for name, conversation in CONVERSATIONS.items():
            if name == "mysql":
                continue
            wire = Wire().talk(conversation[:-2])
            wire.client(conversation[-2][1] + b"RSET\r\n")
            self.assertEqual(wire.passed[True], said(conversation, True), name)
            message = self.injected(wire, False, conversation[-1][1])
            self.assertIn("the client", message)

    def test_between_request_and_answer(self):
        for name, conversation in CONVERSATIONS.items():
            if name == "mysql":
                continue
            wire = Wire().talk(conversation[:-1])
            wire.client(b"RS")
            wire.client(b"ET\r\n")
            self.assertEqual(wire.passed[True], said(conversation, True), name)
            self.injected(wire, False, conversation[-1][1])

    def test_behind_the_answer(self):
        for name, conversation in CONVERSATIONS.items():
            if name == "mysql":
                continue
            wire = Wire().talk(conversation[:-1])
            message = self.injected(wire, False, conversation[-1][1] + b"250 injected\r\n")
            self.assertIn("the server", message)
            wire = Wire().talk(conversation)
            self.injected(wire, False, b"250 injected\r\n")

    def test_instead_of_a_hello(self):
        for name, conversation in CONVERSATIONS.items():
            wire = Wire().talk(conversation)
            with self.assertRaises(RemoteProtocolError, msg=name):
                wire.client(b"RSET\r\n")

    def test_mysql(self):
        wire = Wire().talk(MYSQL[:1])
        self.injected(wire, True, mysql_request() + b"select 1")
        wire = Wire()
        wire.server(mysql_greeting() + b"\x07\0\0\2\0\0\0\2\0\0\0")
        self.injected(wire, True, mysql_request())
        wire = Wire().talk([(False, mysql_greeting()), (False, b"more")])
        self.injected(wire, True, mysql_request())

    def test_commands_that_went_on_after_a_misunderstood_refusal(self):
        wire = Wire().talk(SMTP[:3])
        wire.client(b"BOGUS\r\nSTARTTLS\r\n")
        wire.server(b"500 what?\r\n")
        wire.client(b"MAIL FROM:<x@y>\r\n")
        self.injected(wire, False, b"220 go\r\n")

    def test_white_space_is_none_in_xmpp(self):
        wire = Wire().talk(XMPP[:-1])
        wire.client(b" \n")
        wire.server(XMPP[-1][1] + b"\n")
        self.assertIs(wire.phase, Phase.AGREED)
        self.assertEqual(wire.watch.hello, b"")


class GuessTests(WatchTestCase):
    """What only looks like a hello goes on as it is."""

    def started(self, *said: tuple[bool, bytes]) -> Wire:
        return Wire().talk([(True, b"hello there\n"), (False, b"hello too\n"), *said])

    def test_no_hello_before_the_server_has_answered(self):
        wire = Wire().talk([(False, b"welcome\n"), (True, b"x"), (True, HELLO)])
        self.assertIs(wire.phase, Phase.PLAIN)
        self.assertEqual(wire.passed[True], b"x" + HELLO)

    def test_malformed(self):
        for bad in (
            b"\x16\x03\x01\x00\x05\x02more",
            b"\x16\x03\x01\x00\x00rest",
            b"\x16and now for something completely different",
            HELLO[:60] + b"\xff" * 60 + HELLO[120:],
        ):
            wire = self.started((True, bad))
            self.assertIs(wire.phase, Phase.PLAIN)
            self.assertEqual(wire.passed[True], b"hello there\n" + bad)

    def test_the_server_speaks_before_it_is_complete(self):
        wire = self.started((True, HELLO[:50]))
        self.assertIs(wire.phase, Phase.HELLO)
        wire.server(b"so?")
        self.assertIs(wire.phase, Phase.PLAIN)
        self.assertEqual(wire.passed[True], b"hello there\n" + HELLO[:50])
        wire.client(HELLO[50:])
        self.assertEqual(wire.passed[True], b"hello there\n" + HELLO)

    def test_it_never_gets_complete(self):
        wire = self.started((True, HELLO[:50]))
        wire.watch.give_up()
        self.assertEqual(wire.watch.release(), HELLO[:50])
        self.assertIs(wire.phase, Phase.PLAIN)

    def test_too_large(self):
        fragment = b"\x16\x03\x01\x40\x00" + b"\x01\x00\xff\xff" + bytes(0x4000 - 4)
        more = b"\x16\x03\x01\x40\x00" + bytes(0x4000)
        wire = self.started((True, fragment), *[(True, more)] * 4)
        self.assertIs(wire.phase, Phase.PLAIN)
        self.assertEqual(wire.passed[True], b"hello there\n" + fragment + more * 4)

    def test_an_answer_allows_for_one_guess(self):
        wire = self.started((True, b"\x16no"), (True, HELLO))
        self.assertIs(wire.phase, Phase.PLAIN)
        wire.talk([(False, b"what?"), (True, HELLO)])
        self.assertIs(wire.phase, Phase.AGREED)


class ChoiceTests(WatchTestCase):
    """What is watched for can be chosen."""

    def test_nothing(self):
        wire = Wire(())
        self.assertIs(wire.phase, Phase.OVER)
        wire.talk([*SMTP, (True, HELLO)])
        self.assertEqual(wire.passed[True], said(SMTP, True) + HELLO)

    def test_one(self):
        wire = Wire(("smtp",)).talk(SMTP)
        self.assertIs(wire.phase, Phase.AGREED)
        for name in PROTOCOLS[1:]:
            wire = Wire(("smtp",)).talk(CONVERSATIONS[name])
            self.assertIs(wire.phase, Phase.OVER, name)
            wire.client(HELLO)
            self.assertTrue(wire.passed[True].endswith(HELLO))

    def test_generic_alone(self):
        for name, conversation in CONVERSATIONS.items():
            wire = Wire((GENERIC,)).talk(conversation)
            self.assertIs(wire.phase, Phase.PLAIN, name)
            wire.client(HELLO)
            # The server of MySQL says nothing before the hello.
            expected = Phase.PLAIN if name == "mysql" else Phase.AGREED
            self.assertIs(wire.phase, expected, name)

    def test_all_but_generic(self):
        wire = Wire(PROTOCOLS).talk([(True, b"please\n"), (False, b"fine then\n"), (True, HELLO)])
        self.assertIs(wire.phase, Phase.OVER)
        self.assertTrue(wire.passed[True].endswith(HELLO))

    def test_what_was_dropped_has_not_been_said(self):
        wire = Wire().talk(SMTP[:3])
        wire.watch.client_sent(b"STARTTLS\r\nNOOP\r\n")
        wire.watch.withdraw()
        self.assertEqual(wire.watch.release(), b"NOOP\r\n")
        self.assertIs(wire.phase, Phase.OVER)


class EndOfWatchTests(WatchTestCase):
    """Nothing is followed for longer than it makes sense."""

    def follows(self, *said: tuple[bool, bytes]) -> bool:
        return not Wire().talk(list(said)).watch.waits_for_hello

    def test_mail_is_not_looked_into(self):
        begin = SMTP[:3]
        for command in (b"DATA\r\n", b"BDAT 12 LAST\r\n"):
            wire = Wire().talk([*begin, (True, command + b"STARTTLS\r\n"), (False, b"220 x\r\n")])
            self.assertIs(wire.phase, Phase.PLAIN)

    def test_answers_to_challenges_are_no_commands(self):
        wire = Wire().talk([*SMTP[:3], (True, b"AUTH LOGIN\r\n"), (False, b"334 VXNlcg==\r\n")])
        wire.client(b"STARTTLS\r\n")
        self.assertIs(wire.phase, Phase.PLAIN)
        wire.talk([(False, b"535 no\r\n"), (True, b"STARTTLS\r\n"), (False, b"220 go\r\n")])
        self.assertIs(wire.phase, Phase.AGREED)

    def test_literals_end_imap(self):
        self.assertFalse(self.follows(*IMAP[:1], (True, b"a LOGIN {5}\r\n")))
        self.assertFalse(self.follows(*IMAP[:1], (True, b"a LOGIN {5+}\r\nme\r\na STARTTLS\r\n")))
        self.assertFalse(self.follows(*IMAP[:1], (True, b"a" * 2000 + b"\r\n")))
        self.assertTrue(self.follows(*IMAP[:1], (True, b"a" * 900 + b"\r\n")))

    def test_mailboxes_end_pop3(self):
        self.assertFalse(self.follows(*POP3[:1], (True, b"RETR 1\r\nSTLS\r\n")))

    def test_what_xmpp_forbids(self):
        for bad in (b"<!-- -->", b"<![CDATA[<starttls/>]]>", b"<!DOCTYPE a>", b"<" + b"a" * 5000):
            self.assertFalse(self.follows(*XMPP[:2], (True, bad)), bad)
            self.assertFalse(self.follows(*XMPP[:1], (False, bad)), bad)

    def test_what_is_no_ldap(self):
        for bad in (b"\x31\x02", b"\x30\x80", b"\x30\x85", b"\x30\x00"):
            self.assertFalse(self.follows(LDAP[0], (False, ldap_response(2, 1)), (True, bad)), bad)
            self.assertFalse(self.follows(LDAP[0], (False, bad)), bad)

    def test_packets_of_mysql_too_large(self):
        self.assertFalse(self.follows((False, b"\x00\x10\x00\x00\x0a8.0.36")))
        self.assertFalse(self.follows(MYSQL[0], (True, b"\x00\x10\x00\x01\xff\xff")))
        self.assertFalse(self.follows((False, mysql_greeting()[:9]), (True, mysql_request())))

    def test_a_mailbox_that_is_only_talked_with(self):
        line = (True, b"NOOP\r\n"), (False, b"250 ok\r\n")
        self.assertTrue(self.follows(SMTP[0], *line * 1000))
        self.assertFalse(self.follows(SMTP[0], *line * 6000))

    def test_unknown_greetings(self):
        self.assertFalse(self.follows((False, b"SSH-2.0-OpenSSH_9.6\r\n")))
        self.assertFalse(self.follows((True, b"*1\r\n$4\r\nPING\r\n"), (False, b"+PONG and more")))
        self.assertTrue(self.follows((False, b"hi\r\n")))

    def test_noise(self):
        source = random.Random(4)
        words = [*self._words(), HELLO, b"\x16\x03\x01", b"", b"\r\n", bytes(7), b"<", b"\x30"]
        for _ in range(400):
            wire = Wire()
            sent = {True: b"", False: b""}
            try:
                for _ in range(source.randrange(30)):
                    who, data = source.random() < 0.5, source.choice(words)
                    if wire.phase is not Phase.AGREED and data:
                        sent[who] += data
                        wire.say(who, data)
            except RemoteProtocolError as error:
                self.assertEqual(error.code, "starttls-injection")
            else:
                held = wire.watch.hello
                self.assertEqual(wire.passed[True] + held, sent[True])
                self.assertEqual(wire.passed[False], sent[False])

    def _words(self) -> Iterator[bytes]:
        for conversation in (*CONVERSATIONS.values(), POSTGRESQL_GSS):
            yield from (data for _, data in conversation)
