"""The connection of the parent with one worker: JSON messages, questions with a deadline.

It is a pair of UNIX sockets that nobody else has. A message is a JSON object behind its length in
four bytes.
"""

from __future__ import annotations

import itertools
import json
import socket
from collections.abc import Callable, Mapping
from typing import Any, Final

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Factory
from twisted.protocols.basic import Int32StringReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from interceptor.errors import InterceptorError, SharedStateError

MESSAGE_LIMIT: Final = 4 << 20
"""Bytes that a message may have; what scripts share is held to less."""

ANSWER_TIMEOUT: Final = 5.0
"""Seconds within which a question is answered."""

MOST_QUESTIONS: Final = 10_000
"""How many questions may wait for their answers."""

Receiver = Callable[[dict[str, Any]], object]


@implementer(IPushProducer)
class Channel(Int32StringReceiver):
    """One end. ``received`` is called with each message that is no answer.

    What ``received`` returns, or raises as `InterceptorError`, answers a question. ``lost`` is
    called when the other end is gone.
    """

    MAX_LENGTH = MESSAGE_LIMIT
    transport: Any

    def __init__(self, reactor: Any, received: Receiver, lost: Callable[[], object]) -> None:
        self._reactor = reactor
        self._received = received
        self._lost = lost
        self._numbers = itertools.count(1)
        self._questions: dict[int, tuple[Deferred[Any], Any]] = {}
        self._gone = False
        self.full = False

    @classmethod
    def adopt(
        cls, reactor: Any, descriptor: int, received: Receiver, lost: Callable[[], object]
    ) -> Channel:
        """Make one of a connected socket's descriptor, which the caller may close then."""
        channel = cls(reactor, received, lost)
        factory = Factory.forProtocol(lambda: channel)
        factory.noisy = False
        reactor.adoptStreamConnection(descriptor, socket.AF_UNIX, factory)
        return channel

    def connectionMade(self) -> None:
        self.transport.registerProducer(self, True)

    def send(self, message: Mapping[str, Any], *, dispensable: bool = False) -> bool:
        """Send a message; one that is ``dispensable`` not to who does not take what was sent.

        Return whether it was sent.
        """
        if self._gone or (dispensable and self.full):
            return False
        text = json.dumps(message, separators=(",", ":")).encode()
        self.transport.write(len(text).to_bytes(4, "big") + text)
        return True

    def ask(self, message: Mapping[str, Any], timeout: float = ANSWER_TIMEOUT) -> Deferred[Any]:
        """Send a question; fire with the answer. Fails with `SharedStateError`."""
        if self._gone:
            return fail(_unavailable("the proxy is about to end"))
        if len(self._questions) >= MOST_QUESTIONS:
            return fail(_unavailable(f"{MOST_QUESTIONS} questions wait for their answers"))
        number = next(self._numbers)
        answer: Deferred[Any] = Deferred(lambda deferred: self._forget(number))
        timer = self._reactor.callLater(timeout, self._late, number, timeout)
        self._questions[number] = (answer, timer)
        self.send({**message, "question": number})
        return answer

    def close(self) -> None:
        """End the connection once all was sent."""
        if not self._gone:
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def stringReceived(self, string: bytes) -> None:
        message = json.loads(string)
        if "answer" in message:
            self._answered(message)
            return
        number = message.pop("question", None)
        try:
            answer = self._received(message)
        except InterceptorError as error:
            if number is None:
                raise
            self.send({"answer": number, "error": str(error), "code": error.code})
        else:
            if number is not None:
                self.send({"answer": number, "value": answer})

    def connectionLost(self, reason: Failure | None = None) -> None:
        self._gone = True
        self._lost()
        for number in tuple(self._questions):
            deferred = self._settle(number)
            if deferred is not None:
                deferred.errback(_unavailable("the proxy is about to end"))

    # IPushProducer: the transport tells by these how full its buffer is.

    def pauseProducing(self) -> None:
        self.full = True

    def resumeProducing(self) -> None:
        self.full = False

    def stopProducing(self) -> None:
        self.full = True

    def _answered(self, message: dict[str, Any]) -> None:
        deferred = self._settle(message["answer"])
        if deferred is None:
            return
        if "code" in message:
            deferred.errback(SharedStateError(message["error"], message["code"]))
        else:
            deferred.callback(message["value"])

    def _settle(self, number: int) -> Deferred[Any] | None:
        deferred, timer = self._questions.pop(number, (None, None))
        if timer is not None and timer.active():
            timer.cancel()
        return deferred

    def _forget(self, number: int) -> None:
        self._settle(number)

    def _late(self, number: int, timeout: float) -> None:
        deferred = self._settle(number)
        if deferred is not None:
            deferred.errback(_unavailable(f"no answer within {timeout:g} s"))


def _unavailable(text: str) -> SharedStateError:
    return SharedStateError(f"what is shared cannot be had: {text}", "shared-unavailable")
