"""The options that say who may connect, and how much all clients together may take."""

from __future__ import annotations

from typing import Final

from interceptor.model.option import Option
from interceptor.model.optionmakers import count, flag, grouped

LIMIT_OPTIONS: Final[tuple[Option, ...]] = grouped(
    "Limits",
    flag(
        "block_global",
        True,
        "Refuse clients from public addresses, those that the whole internet can reach; over UDP "
        "their datagrams are dropped.",
    ),
    Option(
        "allow_global_from",
        "sequence",
        (),
        "Addresses and networks of clients that block_global lets in all the same.",
    ),
    count(
        "connection_limit",
        20_000,
        "How many connections clients may have to the proxy, all together.",
    ),
    count(
        "client_connection_limit",
        1000,
        "How many connections the clients with one IP address may have; those of this machine, and "
        "of UNIX sockets, are not counted.",
    ),
    count(
        "flow_limit",
        10_000,
        "How many HTTP requests may be under way at once; more are answered with 503.",
    ),
)
"""Every option of that group, in the order of the manual."""
