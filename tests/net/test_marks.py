"""Marks on sockets."""

from __future__ import annotations

import errno
import socket
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from interceptor.errors import CapabilityError
from interceptor.net.marks import set_mark


class MarkTests(SynchronousTestCase):
    """`set_mark`; functional tests have `check_mark`, and sockets that are marked."""

    def test_not_allowed(self):
        class Refusing:
            def setsockopt(self, *arguments):
                raise PermissionError(errno.EPERM, "no")

        skt: Any = Refusing()
        error = self.assertRaises(CapabilityError, set_mark, skt, 7)
        self.assertIn("`socket_mark` needs the capability CAP_NET_ADMIN", str(error))

    def test_the_largest(self):
        calls = []

        class Taking:
            def setsockopt(self, *arguments):
                calls.append(arguments)

        skt: Any = Taking()
        set_mark(skt, 0xFFFFFFFF)
        self.assertEqual(calls, [(socket.SOL_SOCKET, socket.SO_MARK, b"\xff" * 4)])
