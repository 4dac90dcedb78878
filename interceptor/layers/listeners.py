"""Which listener for UDP a mode has. They are loaded when they are made: few proxies need any."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from interceptor.layers.datagrams import DatagramListener
    from interceptor.layers.environment import Environment
    from interceptor.model.modes import ModeSpec


def datagram_listener(environment: Environment, mode: ModeSpec) -> DatagramListener:
    """Return what takes the datagrams of a mode's clients."""
    if mode.kind == "dns":
        from interceptor.layers.dns import DNSListener

        return DNSListener(environment, mode)
    from interceptor.layers.udp import UDPListener

    return UDPListener(environment, mode)
