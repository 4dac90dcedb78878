"""Which listener for UDP a mode has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.layers.udp import UDPListener

if TYPE_CHECKING:
    from interceptor.layers.datagrams import DatagramListener
    from interceptor.layers.environment import Environment
    from interceptor.model.modes import ModeSpec


def datagram_listener(environment: Environment, mode: ModeSpec) -> DatagramListener:
    """Return what takes the datagrams of a mode's clients."""
    if mode.kind == "dns":
        # What knows the records of DNS takes a while to load, and few proxies need it.
        from interceptor.layers.dns import DNSListener

        return DNSListener(environment, mode)
    return UDPListener(environment, mode)
