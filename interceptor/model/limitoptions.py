"""The options that say who may connect, and how much all clients together may take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from interceptor.model.option import Option
from interceptor.model.optionmakers import choice, count, flag, grouped, size

_M: Final = 1 << 20

if TYPE_CHECKING:
    from interceptor.model.options import Options

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
    Option(
        "descriptor_headroom",
        "int",
        100,
        "How many file descriptors are left for connections to servers and for files, at most a "
        "quarter of all: while there are fewer, new clients have to wait.",
        minimum=0,
    ),
    size(
        "body_memory_total",
        256 * _M,
        "How much memory the gathered bodies of all flows may take; those of up to 16 KiB are not "
        "counted.",
    ),
    choice(
        "body_memory_overflow",
        ("spool", "refuse"),
        "spool",
        "What to do with a body above body_memory_total: put it into a temporary file (spool), or "
        "answer with 413, for a response with 502 (refuse).",
    ),
    size(
        "buffer_memory_total",
        256 * _M,
        "How much memory all else may take that waits in the proxy: data of HTTP/2 streams that "
        "nobody has taken yet, messages that are not complete, and the latest messages that flows "
        "keep; 64 KiB of each connection are not counted. Above it HTTP/2 connections are not read "
        "from, less is kept, and a message that would need more ends its connection.",
    ),
    size(
        "request_body_rate",
        100,
        "Bytes of a request's body that give its client a second more, beyond body_timeout, where "
        "the body is gathered or its length was announced; 0 lets it take its time.",
    ),
    size(
        "response_body_rate",
        0,
        "Bytes of a response's body that give its server a second more, beyond read_timeout, where "
        "the body is gathered or its length was announced; 0 lets it take its time.",
    ),
)
"""Every option of that group, in the order of the manual."""


SHARED_LIMITS: Final = (
    "connection_limit",
    "flow_limit",
    "body_memory_total",
    "buffer_memory_total",
    "h2_mirror_total",
    "udp_flow_limit",
)
"""Limits for all workers together."""

CLIENT_LIMITS: Final = ("client_connection_limit", "udp_client_flow_limit")
"""Limits for one client with all workers together."""


def share_of(options: Options, name: str) -> int:
    """An equal share of a limit for all ``workers`` together, at least 1."""
    limit: int = getattr(options, name)
    workers: int = options.workers
    return max(limit // workers, 1)
