"""The options that say how HTTP/2 is spoken, and what of it is too much."""

from __future__ import annotations

from typing import Final

from interceptor.model.option import Option
from interceptor.model.optionmakers import choice, count, duration, flag, grouped, size

_K, _M = 1 << 10, 1 << 20

HTTP2_OPTIONS: Final[tuple[Option, ...]] = grouped(
    "HTTP/2",
    flag("http2", True, "Speak HTTP/2 with clients that offer it in their TLS handshake."),
    choice(
        "h2_upstream",
        ("mirror", "always", "never"),
        "mirror",
        "Whether servers are offered HTTP/2: mirror offers what the client speaks or offers, "
        "always offers it for clients that speak HTTP/1 as well, never keeps to HTTP/1.",
    ),
    flag(
        "h2_cleartext",
        False,
        "Accept HTTP/2 without TLS from clients that begin with it (prior knowledge, RFC 9113 "
        "section 3.3), and speak it with their servers too.",
    ),
    flag(
        "h2_mirror",
        True,
        "Speak HTTP/2 with servers in the client's manner: its settings, window, order of "
        "pseudo-headers and priorities.",
    ),
    count("h2_max_streams", 100, "Requests that one client may have under way at once."),
    size("h2_window", 1 * _M, "Bytes of one stream's body that a peer may send ahead.", 65535),
    size(
        "h2_connection_window",
        4 * _M,
        "Bytes of all streams' bodies that a peer may send ahead on one connection.",
        65535,
    ),
    size(
        "h2_mirror_budget",
        32 * _M,
        "The largest connection window that is shown to a server because the client shows it "
        "(curl's has 32 MiB); where the client's is larger, flows are marked `h2_window_reduced` "
        "in their metadata.",
        65535,
    ),
    size(
        "h2_mirror_total",
        256 * _M,
        "What the windows shown to all servers may add up to; above it the usual ones are shown.",
        65535,
    ),
    size("h2_table_size", 4 * _K, "Bytes of the HPACK table that peers may use (RFC 7541)."),
    count("h2_continuation_limit", 16, "CONTINUATION frames that one head may be spread over."),
    count(
        "h2_reset_limit",
        100,
        "Streams in a second that a peer may reset, or make us reset.",
    ),
    count(
        "h2_control_limit",
        200,
        "SETTINGS, PING, PRIORITY, empty DATA and other frames in a second that carry nothing.",
    ),
    duration(
        "h2_ping_interval",
        30.0,
        "Time without a byte on a connection with streams after which the peer is asked for a sign "
        "of life (PING); where none comes in the same time again, the connection is over.",
    ),
)
