from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from interceptor.testing import EventRecorder, MemoryProxy, read_messages

SCRIPT = str(Path(__file__).resolve().with_name("memo.py"))


class CodecTests(SynchronousTestCase):
    def test_commands_and_replies(self):
        spec = spec_from_file_location("memo", SCRIPT)
        memo = module_from_spec(spec)
        spec.loader.exec_module(memo)
        messages = read_messages(
            memo.MemoCodec,
            (True, b"set a 0 0 3\r\nx\r\n\r\nget a\r\n"),
            (False, b"STORED\r\nVALUE a 0 3\r\nx\r\n\r\nEND\r\n"),
        )
        self.assertEqual(
            [(each.line, each.data) for each in messages],
            [
                (b"set a 0 0 3", b"x\r\n"),
                (b"get a", None),
                (b"STORED", None),
                (b"VALUE a 0 3", b"x\r\n"),
                (b"END", None),
            ],
        )


class LayerTests(SynchronousTestCase):
    def setUp(self):
        self.recorder = EventRecorder("memo_error")
        self.proxy = MemoryProxy(SCRIPT, self.recorder, mode="reverse:memo://cache.test")
        self.addCleanup(self.proxy.close)
        self.origin = self.proxy.origin("cache.test", 11211)
        self.client = self.proxy.client()

    def test_what_is_forbidden_is_answered_from_here(self):
        self.client.send(b"flush_all\r\nget a\r\n")
        self.assertEqual(self.client.received, b"ERROR not through this proxy\r\n")
        self.assertEqual(self.origin.received, b"get a\r\n")

    def test_what_makes_no_sense(self):
        for line in (b"\r\n", b"set a\r\n", b"set a 0 0 -7\r\n", b"add a 0 0 many\r\n"):
            client = self.proxy.client().send(line)
            self.assertEqual(client.received, b"SERVER_ERROR memo-malformed\r\n")
        self.assertEqual(self.recorder.names, ["memo_error"] * 4)
