"""The clients that measure what a request takes, and what an idle connection does."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from bench import processes
from bench.errors import BenchError, NotMeasuredError
from bench.idle import _ask
from bench.latency import OneClient
from bench.load import Load
from bench.processes import Cores, free_cores, parse_idle
from bench.workersworkloads import WorkersWorkload

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody"
STAT = (
    "cpu  9 9 9 999 1 0 0 0 0 0\ncpu0 1 2 3 400 5 0 0 0 0 0\ncpu11 1 2 3 50 5 0 0 0 0 0\nintr 1\n"
)


def serve(listener: socket.socket, answers: list[bytes]) -> None:
    """Accept one connection and give one answer for each request of one packet; then close."""
    connection, _ = listener.accept()
    with connection:
        for answer in answers:
            connection.recv(65536)
            connection.sendall(answer)


class OneClientTests(SynchronousTestCase):
    def connect(self, *answers: bytes) -> OneClient:
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        thread = threading.Thread(target=serve, args=(listener, list(answers)), daemon=True)
        thread.start()
        self.addCleanup(thread.join, 10)
        port = listener.getsockname()[1]
        client = OneClient(Load(port, "/4", "127.0.0.1", 1, False, 4))
        self.addCleanup(client.close)
        return client

    def test_takes_the_time_of_whole_answers_only(self) -> None:
        client = self.connect(ANSWER, ANSWER)
        # The second answer ends the turn.
        with mock.patch("bench.latency.time.perf_counter", side_effect=[0.0, 0.0, 2.0]):
            self.assertEqual(client.run(1.0), [2.0])

    def test_an_end_in_between_is_an_error(self) -> None:
        self.assertRaises(BenchError, self.connect(ANSWER, ANSWER[:-1]).run, 1.0)

    def test_another_status_is_an_error(self) -> None:
        self.assertRaises(BenchError, self.connect, ANSWER.replace(b"200 OK", b"502 No"))


class AskTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.here, self.there = socket.socketpair()
        self.addCleanup(self.here.close)
        self.addCleanup(self.there.close)

    def test_reads_the_whole_answer(self) -> None:
        self.there.sendall(ANSWER + b"more")
        _ask(self.here, "GET / HTTP/1.1\r\n\r\n", 4)
        self.assertEqual(self.there.recv(100), b"GET / HTTP/1.1\r\n\r\n")

    def test_a_refusal_is_an_error(self) -> None:
        self.there.sendall(b"HTTP/1.1 503 Busy\r\n\r\n")
        error = self.assertRaises(BenchError, _ask, self.here, "CONNECT x:1 HTTP/1.1\r\n\r\n", 0)
        self.assertIn("503 Busy", str(error))

    def test_an_early_end_is_an_error(self) -> None:
        self.there.sendall(ANSWER[:-1])
        self.there.shutdown(socket.SHUT_WR)
        self.assertRaises(BenchError, _ask, self.here, "GET / HTTP/1.1\r\n\r\n", 4)


class FreeCoresTests(SynchronousTestCase):
    def test_idle_ticks_by_core(self) -> None:
        self.assertEqual(parse_idle(STAT), {0: 400, 11: 50})

    def test_a_core_that_works_is_not_free(self) -> None:
        later = STAT.replace(" 400 ", f" {400 + processes._TICKS} ").replace(" 50 ", " 60 ")
        texts = mock.patch.object(Path, "read_text", side_effect=[STAT, later])
        with texts, mock.patch("bench.processes.time.sleep"):
            self.assertEqual(free_cores({0, 11}, 1.0), [0])

    def test_two_workers_need_four_cores(self) -> None:
        lab = mock.Mock()
        lab.cores = Cores(0, 1, frozenset((0, 1)))
        apart = WorkersWorkload("w", "w", apart=True)
        self.assertRaises(NotMeasuredError, apart._cores, lab)
        self.assertEqual(WorkersWorkload("w", "w")._cores(lab), (0, 1))
        lab.cores = Cores(0, 1, frozenset((0, 1, 2, 3)))
        with mock.patch("bench.workersworkloads.free_cores", return_value=[0, 1, 2, 3]):
            self.assertEqual(apart._cores(lab), (frozenset((0, 2)), 3))
