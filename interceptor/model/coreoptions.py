"""The table of core options: names, types, defaults and what they mean.

The command line, the TOML file, the environment and the manual are all made from this table.
"""

from __future__ import annotations

from typing import Final

from interceptor.model.datagramoptions import DATAGRAM_OPTIONS
from interceptor.model.http2options import HTTP2_OPTIONS
from interceptor.model.limitoptions import LIMIT_OPTIONS
from interceptor.model.optionmakers import choice, count, duration, flag, grouped, size
from interceptor.model.options import Option, Options
from interceptor.model.protocoloptions import PROTOCOL_OPTIONS
from interceptor.model.websocketoptions import WEBSOCKET_OPTIONS

_VERSIONS: Final = ("tls1.0", "tls1.1", "tls1.2", "tls1.3")

_STARTTLS: Final = tuple("all smtp imap pop3 postgresql mysql xmpp ldap generic".split())

_K, _M, _G = 1 << 10, 1 << 20, 1 << 30


CORE_OPTIONS: Final[tuple[Option, ...]] = (
    *grouped(
        "Files and listeners",
        Option(
            "confdir",
            "str",
            "~/.interceptor",
            "Directory of the configuration: config.toml is read from here.",
        ),
        Option(
            "mode",
            "sequence",
            ("regular@127.0.0.1:8080",),
            "What to listen for: regular, socks5, auto (both), transparent, "
            "reverse:SCHEME://HOST[:PORT] (with the schemes http, https, tcp, tls and udp, or the "
            "name of a layer, such as redis), reverse (for reverse_backends), "
            "dns[:HOST[:PORT]] or upstream:PROXY (with PROXY as for upstream_proxy), each "
            "optionally followed by @LISTEN: PORT, HOST:PORT, [V6]:PORT or a Twisted endpoint "
            "string.",
        ),
        Option(
            "proxyauth",
            "str",
            None,
            "Who may use the proxy, but in reverse and transparent mode: USER:PASSWORD, @FILE for "
            "a file of htpasswd, or any for everybody who gives a name and a password. Command "
            "lines can be seen by others: better set the variable INTERCEPTOR_PROXYAUTH.",
            optional=True,
        ),
        Option(
            "proxy_protocol_from",
            "sequence",
            (),
            "Addresses and networks of load balancers whose connections begin with a header of the "
            "PROXY protocol, which names the client: NETWORK, NETWORK@PORT for the listener of "
            "that port only, unix or unix@PATH for UNIX sockets.",
        ),
        count(
            "workers",
            1,
            "How many processes serve, with the same listeners and each with the scripts.",
            maximum=256,
        ),
        duration(
            "worker_timeout",
            30.0,
            "How long one of several workers may do nothing at all, in a script that never returns "
            "for instance, before it is killed and replaced; 0 means any time.",
            minimum=0,
        ),
    ),
    *grouped(
        "Scripts and hooks",
        Option(
            "scripts",
            "sequence",
            (),
            "Hook scripts to load, in order; each is a path, optionally followed by arguments, "
            "split by the rules of the shell.",
        ),
        flag("script_reload", True, "Load a script again when its file changes."),
        flag(
            "allow_writable_scripts",
            False,
            "Load scripts that others than their owner may write, or whose folder they may write.",
        ),
        choice(
            "script_error_policy",
            ("continue", "kill"),
            "continue",
            "What becomes of a flow whose hook raises or overruns: it goes on (continue) or is "
            "killed before anything is forwarded (kill). A script may decide for itself.",
        ),
        count(
            "script_threads",
            16,
            "Threads in which hooks marked @concurrent run.",
            maximum=1024,
        ),
        duration(
            "hook_timeout",
            60.0,
            "How long one hook may take to answer before it is cancelled and counts as failed; "
            "0 means any time.",
            minimum=0,
        ),
        duration(
            "hook_stall",
            0.1,
            "A hook that blocks the whole proxy for longer than this is named in the log.",
        ),
    ),
    *grouped(
        "Bodies",
        size(
            "body_size_limit",
            _G,
            "Largest body that is gathered for a hook.",
        ),
        choice(
            "body_size_overflow",
            ("default", "stream", "refuse"),
            "default",
            "What to do with a body above body_size_limit: answer a request with 413 and let a "
            "response stream on (default), let both stream on, but no request past a hook that "
            "fails closed (stream), or answer with 413, for a response with 502 (refuse).",
        ),
        size(
            "body_memory_limit",
            _M,
            "How much of a gathered body is kept in memory; the rest goes to a temporary file.",
        ),
        Option(
            "stream_large_bodies",
            "size",
            None,
            "Bodies larger than this are streamed past the hooks instead of being gathered.",
            optional=True,
        ),
        flag(
            "store_streamed_bodies",
            False,
            "Keep a copy of streamed bodies on the flow, up to store_streamed_limit.",
        ),
        size(
            "store_streamed_limit",
            _M,
            "How much of a streamed body store_streamed_bodies keeps; what is beyond is marked "
            "as cut off.",
        ),
        size(
            "message_size_limit",
            64 * _M,
            "Largest message of the protocols that consist of messages (Redis, SMTP, …); a larger "
            "one ends the connection.",
            minimum=1024,
        ),
        flag("stream_grpc", True, "Stream gRPC messages instead of gathering them."),
        size(
            "sse_event_limit",
            4 * _M,
            "How much of one event of an event stream is held back for sse_event hooks; a longer "
            "one passes unseen, or ends the flow where a hook's error policy is kill.",
        ),
        size(
            "decoded_size_limit",
            16 * _M,
            "Largest result of removing a content coding (gzip, deflate, br, zstd), and of "
            "inflating a message of a WebSocket. Nobody else is served while that is done, unless "
            "a script has it done in a thread.",
        ),
        Option(
            "decoded_ratio_limit",
            "int",
            1100,
            "How many times its coded size a body may become when a content coding is removed, "
            "beyond decoded_ratio_free; 0 means any.",
            minimum=0,
        ),
        size(
            "decoded_ratio_free",
            16 * _M,
            "Decoded bytes of a body that decoded_ratio_limit does not look at; it is of use where "
            "that is less than decoded_size_limit.",
        ),
        duration(
            "decode_timeout",
            0.1,
            "How much time of the processor that may take, for one message; 0 means any.",
            minimum=0,
        ),
    ),
    *grouped(
        "HTTP",
        choice(
            "http_framing",
            ("reject", "repair", "pass"),
            "repair",
            "What to do with faulty messages: refuse them (reject), forward cosmetic faults of "
            "responses and clean up requests (repair), or also forward requests as they came "
            "(pass). Ambiguous framing is refused in each case.",
        ),
        size("head_size_limit", 64 * _K, "Largest head of a message.", minimum=1),
        count("header_count_limit", 1000, "Largest number of fields in a head."),
        Option(
            "reverse_backends",
            "sequence",
            (),
            "The servers behind listeners of mode reverse, by the names that clients call them, "
            "in the SNI or in Host: NAME=SCHEME://HOST[:PORT], with a host name, *.DOMAIN, or * "
            "for all others; the schemes are those of the mode.",
        ),
        flag(
            "keep_host_header",
            False,
            "In reverse mode, forward the client's Host field instead of the server's name.",
        ),
        flag(
            "keep_h3_offers",
            False,
            "Let servers offer HTTP/3 (Alt-Svc), which clients then speak past the proxy.",
        ),
        flag(
            "retry_stale",
            True,
            "When a reused connection turns out to be dead before any byte of the response, send "
            "an idempotent request once more on a new one.",
        ),
    ),
    *grouped(
        "Next hop",
        Option(
            "proxy_protocol_to",
            "sequence",
            (),
            "Regular expressions; connections to servers and next hops whose `host:port` one of "
            "them matches begin with a header of the PROXY protocol, which names the client.",
        ),
        choice(
            "proxy_protocol_version",
            ("v1", "v2"),
            "v2",
            "The version of the PROXY protocol for proxy_protocol_to.",
        ),
        Option(
            "upstream_proxy",
            "str",
            None,
            "Proxy that all connections to servers go through, in any mode: http://HOST:PORT, "
            "https://HOST:PORT, socks5://HOST:PORT (names are resolved here) or "
            "socks5h://HOST:PORT (names are left to it). A serverconnect hook may set "
            "server_conn.via to another one, or to None.",
            optional=True,
        ),
        Option(
            "upstream_auth",
            "sequence",
            (),
            "Credentials for next hops: USER:PASSWORD for those of modes and of upstream_proxy, "
            "SCHEME://HOST:PORT=USER:PASSWORD for a single one. Command lines can be seen by "
            "others: better use upstream_auth_file or the variable INTERCEPTOR_UPSTREAM_AUTH.",
        ),
        Option(
            "upstream_auth_file",
            "str",
            None,
            "File with credentials for next hops, one a line, as upstream_auth has them; lines "
            "that begin with # are comments.",
            optional=True,
        ),
    ),
    *grouped(
        "Loops",
        choice(
            "via",
            ("auto", "always", "never"),
            "auto",
            "When a request is told, in Via, that it has come through this proxy: auto where it "
            "goes to another proxy, or always.",
        ),
        count(
            "via_limit",
            3,
            "How often a request may come through this proxy, as its Via tells: proxies that lead "
            "back to each other are noticed by that.",
        ),
    ),
    *grouped(
        "Packet filters",
        flag(
            "tproxy",
            False,
            "Let listeners in transparent mode take connections that TPROXY rules give them. Needs "
            "CAP_NET_ADMIN; redirected connections need neither.",
        ),
        Option(
            "socket_mark",
            "int",
            None,
            "Mark that connections to servers get, for the rules of packet filters and for routes "
            "(Linux). Needs CAP_NET_ADMIN.",
            optional=True,
            minimum=1,
            maximum=0xFFFFFFFF,
        ),
    ),
    *grouped(
        "TLS",
        Option(
            "ca_file",
            "str",
            None,
            "PEM file with the key, the certificate and perhaps the chain of the authority (CA) "
            "that signs what clients see; without it that of the directory confdir is used.",
            optional=True,
        ),
        Option(
            "ca_passphrase",
            "str",
            None,
            "Passphrase of the authority's key, with which a new one is encrypted. Command lines "
            "can be seen by others: better set the variable INTERCEPTOR_CA_PASSPHRASE.",
            optional=True,
        ),
        flag(
            "ca_create",
            True,
            "Make an authority in the directory confdir when there is none; otherwise the proxy "
            "does not start.",
        ),
        Option(
            "certs",
            "sequence",
            (),
            "Own certificates to show clients instead of signed ones: HOST=FILE, *.DOMAIN=FILE, "
            "or FILE for every host. The file is PEM with the key, the certificate and its chain.",
        ),
        choice(
            "connection_strategy",
            ("auto", "eager", "lazy"),
            "auto",
            "When a server is connected to: auto connects early where the server's certificate or "
            "protocols decide what the client is told, and late otherwise; eager connects as soon "
            "as the server is known; lazy connects when the first request is complete, or when a "
            "client in a tunnel has said nothing for detect_timeout.",
        ),
        Option(
            "starttls",
            "sequence",
            ("all",),
            "In which protocols a connection that begins in plain text is opened when it turns to "
            "TLS; generic is any other in which a ClientHello follows an answer of the server's. "
            "An empty list leaves all of them alone.",
            choices=_STARTTLS,
        ),
        flag(
            "ssl_insecure",
            False,
            "Do not verify any server's certificate. A last resort: better name the hosts in "
            "ssl_insecure_hosts, or trust their authority by ssl_verify_upstream_trusted_ca.",
        ),
        Option(
            "ssl_insecure_hosts",
            "sequence",
            (),
            "Regular expressions; servers whose `host:port` one of them matches are not verified.",
        ),
        Option(
            "ssl_verify_upstream_trusted_ca",
            "str",
            None,
            "File or folder with certificates of authorities to trust besides the platform's.",
            optional=True,
        ),
        Option(
            "client_certs",
            "str",
            None,
            "Certificate to show to servers that ask: a PEM file with key, certificate and chain "
            "for all, or a folder with a file HOST.pem for each host.",
            optional=True,
        ),
        Option(
            "tls_legacy_hosts",
            "sequence",
            (),
            "Regular expressions; with servers whose `host:port` one of them matches, TLS 1.0, "
            "weak keys, old ciphers and the old renegotiation are put up with.",
        ),
        choice(
            "tls_version_client_min", _VERSIONS, "tls1.2", "The oldest TLS version with clients."
        ),
        choice(
            "tls_version_client_max", _VERSIONS, "tls1.3", "The newest TLS version with clients."
        ),
        choice(
            "tls_version_server_min", _VERSIONS, "tls1.2", "The oldest TLS version with servers."
        ),
        choice(
            "tls_version_server_max", _VERSIONS, "tls1.3", "The newest TLS version with servers."
        ),
        Option(
            "ciphers_client",
            "str",
            None,
            "OpenSSL cipher string for TLS 1.2 and older with clients.",
            optional=True,
        ),
        Option(
            "ciphers_server",
            "str",
            None,
            "OpenSSL cipher string for TLS 1.2 and older with servers.",
            optional=True,
        ),
        Option(
            "tls_keylog_file",
            "str",
            None,
            "File to which the secrets of all TLS connections are written, for Wireshark; the "
            "environment variable SSLKEYLOGFILE does the same.",
            optional=True,
        ),
        Option(
            "tls_session_cache",
            "int",
            1000,
            "How many TLS sessions with servers are kept for resumption; 0 keeps none.",
            minimum=0,
        ),
        Option(
            "ignore_hosts",
            "sequence",
            (),
            "Regular expressions; connections whose `host:port` one of them matches, by the name "
            "asked for, the SNI or the address, pass through untouched.",
        ),
        Option(
            "allow_hosts",
            "sequence",
            (),
            "Regular expressions; if there are any, only connections that one of them matches are "
            "opened, and all others pass through untouched.",
        ),
        Option(
            "tcp_hosts",
            "sequence",
            (),
            "Regular expressions; connections whose `host:port` one of them matches, by the name "
            "asked for, the SNI or the address, are opened where they are TLS, but what is in them "
            "is passed on as it is, with the events of TCP.",
        ),
        flag(
            "tls_passthrough_learn",
            False,
            "Let the next connections to a host pass through untouched after a client has refused "
            "our certificate for it.",
        ),
        duration("tls_passthrough_ttl", 3600.0, "How long a host that was learned passes through."),
        flag(
            "onboarding",
            True,
            "Answer requests to onboarding_host from the proxy itself: a page with the "
            "authority's certificate, and how to make systems and programs trust it.",
        ),
        Option(
            "onboarding_host",
            "str",
            "interceptor.internal",
            "The name of the host that the page of onboarding has.",
        ),
    ),
    *grouped(
        "Deadlines",
        duration("connect_timeout", 10.0, "How long a connection to a server may take."),
        duration(
            "detect_timeout",
            0.25,
            "How long a client may be silent where its server may be the one that speaks first; "
            "then the server is connected to, and heard. 0 does not wait for the client.",
            minimum=0,
        ),
        duration("tls_timeout", 10.0, "How long a TLS handshake may take, with either side."),
        duration(
            "read_timeout",
            60.0,
            "How long a server may send nothing while a byte from it is due.",
        ),
        duration(
            "head_timeout",
            30.0,
            "How long a client's head may take, from its first byte to its last.",
        ),
        duration("body_timeout", 60.0, "How long a client's body may make no progress."),
        duration(
            "idle_timeout",
            300.0,
            "How long a client's connection may stay open without a request.",
        ),
        Option(
            "total_timeout",
            "duration",
            None,
            "How long one whole exchange may take, from the request's first byte to the "
            "response's last.",
            optional=True,
            minimum=0.001,
        ),
        duration(
            "tunnel_idle_timeout",
            3600.0,
            "How long a tunnel (CONNECT, Upgrade) may carry no byte in either direction, and an "
            "event stream none from its server.",
        ),
        duration("write_timeout", 300.0, "How long a peer may refuse to take what is sent to it."),
        duration("close_timeout", 5.0, "How long a peer may take to close after we did."),
        duration(
            "shutdown_grace",
            5.0,
            "How long exchanges may go on after the proxy was told to stop.",
            minimum=0,
        ),
    ),
    *grouped(
        "Name resolution",
        duration("dns_timeout", 5.0, "How long the look-up of one name may take."),
        duration(
            "dns_cache_ttl",
            30.0,
            "How long the addresses of a name are kept; 0 keeps none.",
            minimum=0,
        ),
        count("dns_threads", 8, "Threads that look up names.", maximum=256),
        # RFC 8305, section 5: "MUST NOT be less than 10 milliseconds", and 2 seconds at most.
        Option(
            "happy_eyeballs_delay",
            "duration",
            0.25,
            "Head start of each address of a server before the next is tried as well (RFC 8305).",
            minimum=0.01,
            maximum=2.0,
        ),
    ),
    *LIMIT_OPTIONS,
    *DATAGRAM_OPTIONS,
    *grouped(
        "Output",
        Option(
            "flow_detail",
            "int",
            1,
            "What is printed of each flow: nothing (0), one line (1), the headers too (2), the "
            "bodies too, cut to a screen (3).",
            minimum=0,
            maximum=3,
        ),
        Option(
            "view_filter",
            "str",
            None,
            "Filter expression that chooses which flows are printed.",
            optional=True,
        ),
        flag(
            "show_secrets",
            False,
            "Print credentials, cookies, and passwords in URLs as they are.",
        ),
        choice(
            "log_level",
            ("debug", "info", "warn", "error"),
            "info",
            "The least important messages that the log shows.",
        ),
        choice(
            "color",
            ("auto", "always", "never"),
            "auto",
            "Whether output is coloured; auto colours on a terminal, unless NO_COLOR is set.",
        ),
    ),
    *HTTP2_OPTIONS,
    *PROTOCOL_OPTIONS,
    *WEBSOCKET_OPTIONS,
)
"""Every option that is there without any script, in the order of the manual."""


def core_options() -> Options:
    """New options with everything of `CORE_OPTIONS` declared, at the defaults."""
    return Options(CORE_OPTIONS)
