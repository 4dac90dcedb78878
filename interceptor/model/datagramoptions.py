"""The options of UDP and DNS: who is asked, for how long, and how much there may be at once."""

from __future__ import annotations

from typing import Final

from interceptor.model.option import Option
from interceptor.model.optionmakers import count, duration, grouped, size

_K: Final = 1 << 10

DATAGRAM_OPTIONS: Final[tuple[Option, ...]] = grouped(
    "UDP and DNS",
    Option(
        "dns_servers",
        "sequence",
        (),
        "The resolvers of mode dns, one after the other, each HOST, HOST:PORT or [V6]:PORT; "
        "without any, those that /etc/resolv.conf names.",
    ),
    duration(
        "dns_query_timeout",
        4.5,
        "How long the answer to one question may take, of all resolvers that are asked.",
    ),
    duration(
        "udp_idle_timeout",
        60.0,
        "How long a UDP flow may carry no datagram in either direction before it ends.",
    ),
    count(
        "udp_flow_limit",
        500,
        "How many UDP flows, and questions over UDP, there may be at once; each has a socket.",
    ),
    count(
        "udp_client_flow_limit",
        100,
        "How many of them there may be of the clients with one IP address.",
    ),
    size(
        "udp_datagram_limit",
        65535,
        "Largest datagram of a client; larger ones are dropped.",
        minimum=1,
    ),
    size(
        "udp_queue_limit",
        256 * _K,
        "How much one UDP flow may have waiting for a hook or for its server; datagrams that come "
        "while there is more are dropped.",
    ),
)
"""Every option of that group, in the order of the manual."""
