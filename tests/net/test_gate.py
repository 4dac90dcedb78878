"""Tests of `interceptor.net.gate`."""

from __future__ import annotations

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from interceptor.net.gate import BACKLOG, HOOK, PEER, SETUP, ReadGate, WriteGate
from interceptor.net.memory import HalfCloseRecorder, MemoryLink
from tests.net.producers import NotingProducer


class ReadGateTests(SynchronousTestCase):
    def setUp(self):
        self.transport = NotingProducer()
        self.gate = ReadGate(self.transport)

    def test_is_open_at_first(self):
        self.assertFalse(self.gate.paused)
        self.assertEqual(self.transport.calls, [])

    def test_the_first_reason_pauses(self):
        self.gate.pause(HOOK)
        self.gate.pause(PEER)
        self.assertEqual(self.transport.calls, ["pause"])
        self.assertTrue(self.gate.paused)

    def test_hook_end_does_not_resume_a_full_peer(self):
        self.gate.pause(HOOK)
        self.gate.pause(PEER)
        self.gate.resume(HOOK)
        self.assertTrue(self.gate.paused)
        self.assertEqual(self.transport.calls, ["pause"])

    def test_the_last_reason_resumes(self):
        self.gate.pause(HOOK)
        self.gate.pause(PEER)
        self.gate.resume(PEER)
        self.gate.resume(HOOK)
        self.assertEqual(self.transport.calls, ["pause", "resume"])

    def test_a_reason_stands_once(self):
        self.gate.pause(HOOK)
        self.gate.pause(HOOK)
        self.gate.resume(HOOK)
        self.gate.resume(HOOK)
        self.assertEqual(self.transport.calls, ["pause", "resume"])

    def test_taking_off_what_does_not_stand_is_nothing(self):
        self.gate.resume(HOOK)
        self.gate.pause(PEER)
        self.gate.resume(HOOK)
        self.assertEqual(self.transport.calls, ["pause"])

    def test_several_reasons_at_once(self):
        self.gate.pause(SETUP | BACKLOG)
        self.gate.resume(SETUP)
        self.assertTrue(self.gate.paused)
        self.gate.resume(SETUP | HOOK | PEER | BACKLOG)
        self.assertEqual(self.transport.calls, ["pause", "resume"])

    def test_an_ended_input_is_never_resumed(self):
        self.gate.pause(PEER)
        self.gate.end()
        self.gate.resume(PEER)
        self.gate.resume(~0)
        self.assertTrue(self.gate.paused)
        self.assertEqual(self.transport.calls, ["pause"])

    def test_reasons_have_names(self):
        self.gate.pause(PEER | 64)
        self.gate.end()
        self.assertEqual(self.gate.reasons, ("peer", "ended", "64"))

    def test_works_without_a_transport(self):
        self.gate.detach()
        self.gate.pause(HOOK)
        self.gate.resume(HOOK)
        self.assertEqual(self.transport.calls, [])

    def test_standing_reasons_pause_the_next_transport(self):
        self.gate.pause(SETUP)
        other = NotingProducer()
        self.gate.attach(other)
        self.gate.resume(SETUP)
        self.assertEqual(other.calls, ["pause", "resume"])
        self.assertEqual(self.transport.calls, ["pause"])

    def test_an_open_gate_leaves_the_next_transport_alone(self):
        other = NotingProducer()
        self.gate.attach(other)
        self.assertEqual(other.calls, [])


class WriteGateTests(SynchronousTestCase):
    """On a link whose other end is paused, as a slow reader's would be."""

    def setUp(self):
        self.near = HalfCloseRecorder()
        self.far = HalfCloseRecorder()
        self.link = MemoryLink(self.near, self.far)
        self.changes: list[object] = []
        self.gate = WriteGate(self.link.client, self.changes.append)

    def fill(self):
        self.near.write(b"x" * 65537)

    def test_is_a_push_producer(self):
        verifyObject(IPushProducer, self.gate)

    def test_is_open_at_first(self):
        self.assertFalse(self.gate.paused)
        self.successResultOf(self.gate.wait())

    def test_a_full_buffer_closes_it(self):
        self.fill()
        self.assertTrue(self.gate.paused)
        self.assertNoResult(self.gate.wait())

    def test_an_empty_buffer_opens_it(self):
        self.fill()
        waiting = self.gate.wait()
        self.link.flush()
        self.successResultOf(waiting)
        self.assertFalse(self.gate.paused)

    def test_tells_of_changes_only(self):
        self.fill()
        self.fill()
        self.link.flush()
        self.assertEqual(self.changes, [True, False])

    def test_the_watcher_knows_before_those_who_wait(self):
        self.fill()
        waiting = self.gate.wait()
        waiting.addCallback(lambda _: self.changes.append("waited"))
        self.link.flush()
        self.assertEqual(self.changes, [True, False, "waited"])

    def test_who_waits_goes_on_in_order_while_there_is_room(self):
        went_on = []

        def go_on(_, name, write):
            went_on.append(name)
            if write:
                self.fill()

        self.fill()
        for name, write in (("first", True), ("second", True), ("third", False)):
            self.gate.wait().addCallback(go_on, name, write)
        self.link.server.pauseProducing()
        self.gate.resumeProducing()
        self.assertEqual(went_on, ["first"])
        self.link.server.resumeProducing()
        self.link.flush()
        self.assertEqual(went_on, ["first", "second", "third"])

    def test_cancelling_is_for_one(self):
        self.fill()
        cancelled, waiting = self.gate.wait(), self.gate.wait()
        cancelled.cancel()
        self.failureResultOf(cancelled)
        self.link.flush()
        self.successResultOf(waiting)

    def test_one_that_goes_on_may_cancel_another(self):
        self.fill()
        first, second = self.gate.wait(), self.gate.wait()
        first.addCallback(lambda _: second.cancel())
        self.link.flush()
        self.failureResultOf(second)

    def test_a_loss_fails_who_waits(self):
        self.fill()
        waiting = self.gate.wait()
        self.link.client.abortConnection()
        self.link.flush()
        self.failureResultOf(waiting, ConnectionLost)

    def test_a_loss_fails_who_comes_later(self):
        self.gate.fail(Failure(ConnectionDone()))
        self.gate.fail(ConnectionLost())
        self.failureResultOf(self.gate.wait(), ConnectionDone)

    def test_a_loss_takes_exceptions_too(self):
        self.gate.fail(ConnectionLost("gone"))
        self.failureResultOf(self.gate.wait(), ConnectionLost)

    def test_on_a_transport_that_is_gone(self):
        self.link.client.abortConnection()
        self.link.flush()
        self.failureResultOf(WriteGate(self.link.client).wait(), ConnectionLost)

    def test_closing_a_full_transport_closes_it(self):
        self.fill()
        waiting = self.gate.wait()
        self.gate.close()
        self.successResultOf(waiting)
        self.link.flush()
        self.assertEqual(len(self.far.data), 65537)
        self.assertIs(self.near.lost_with, ConnectionDone)

    def test_half_closing_a_full_transport_half_closes_it(self):
        self.fill()
        self.gate.close_write()
        self.link.flush()
        self.assertTrue(self.far.ended)
        self.assertIs(self.near.lost, None)

    def test_closing_without_a_transport_is_nothing(self):
        gate = WriteGate()
        gate.close()
        gate.close_write()
        self.assertFalse(gate.paused)

    def test_moves_to_another_transport(self):
        other = MemoryLink(HalfCloseRecorder(), HalfCloseRecorder())
        self.gate.attach(other.client)
        self.fill()
        self.assertFalse(self.gate.paused)
        other.client.write(b"x" * 65537)
        self.assertTrue(self.gate.paused)

    def test_a_second_producer_is_refused(self):
        self.assertRaises(RuntimeError, WriteGate, self.link.client)
