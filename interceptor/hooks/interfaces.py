"""The events, declared: what each hook is given, may change and may answer.

The registry of events, the check of hooks at load, ``interceptor hooks`` and the manual's hook
reference are all made from these interfaces. An addon implements any methods of them it likes and
need not declare that it does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zope.interface import Attribute, Interface, taggedValue

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from interceptor.hooks.context import LogEntry
    from interceptor.hooks.loader import Loader
    from interceptor.hooks.shared import SharedMessage
    from interceptor.interfaces import ILayer
    from interceptor.model.connections import ClientConnection, ServerConnection
    from interceptor.model.flow import HTTPFlow
    from interceptor.model.messageflow import MessageFlow
    from interceptor.model.options import Options
    from interceptor.model.tcpflow import TCPFlow
    from interceptor.model.udpflow import UDPFlow
    from interceptor.names.flow import DNSFlow


class ILifecycleHooks(Interface):
    """The life of an addon: loading, options, the clock, the log."""

    taggedValue("title", "Lifecycle events")
    taggedValue("answers", {"start": "a replacement for the addon"})
    taggedValue("synchronous", ("start", "load", "configure"))

    def start() -> Any:
        """Called once when the addon is loaded, before any other event.

        What it returns, unless it is ``None``, replaces the addon: a script can thereby boot into
        an instance of a class. If the replacement has a ``start`` of its own, that is called next.
        A list named ``addons`` on the script or object adds further addons behind it.
        It has to answer at once. An exception refuses the addon.
        """

    def load(loader: Loader) -> None:
        """Called once after `start`, so that the addon can declare options of its own.

        ``loader.add_option(name, type, default, help)`` declares one; ``type`` is ``bool``,
        ``int``, ``float``, ``str``, each also ``| None``, ``Sequence[str]``, or one of the texts
        ``"size"`` and ``"duration"``; ``choices=`` limits a text. A value that the operator gave
        for it on the command line, in the configuration file or in the environment is its value
        from then on. The options go when the addon goes.
        It has to answer at once. An exception refuses the addon.
        """

    def configure(options: Options, updated: set[str]) -> None:
        """Called after `load` with the names of all options, then whenever options change.

        ``options`` are the proxy's current options; ``updated`` holds the names of those that are
        new, later only of those that changed. Raising ``exceptions.OptionsError`` refuses the
        change: every option goes back to its old value, every addon is told again, and the
        operator reads the message. At start-up the program ends with it.
        It has to answer at once.
        """

    def running() -> None:
        """Called once when all listeners are bound and all scripts are live.

        No connection is accepted before every ``running`` hook has answered. A script that is
        loaded or reloaded later gets it when it has taken its place.
        """

    def done() -> None:
        """Called once when the addon is unloaded: removed, reloaded, or at shutdown.

        At a reload the new version has taken over already. A shutdown waits for it, within
        the option ``shutdown_grace``.
        """

    def tick() -> None:
        """Called every 100 ms, never more often; the next one waits until this one answered."""

    def shared_message(message: SharedMessage) -> None:
        """Called in every worker when a script of any of them calls ``ctx.shared.publish``.

        ``message.channel`` and ``message.value`` are what was published, ``message.worker`` is the
        number of the worker that did. Messages of one worker come in their order, one by one.
        """

    def log(entry: LogEntry) -> None:
        """Called for every message of the proxy and of scripts.

        ``entry.msg`` is the text, ``entry.level`` one of ``debug``, ``info``, ``warn`` and
        ``error``. What is logged from inside this hook does not come back to it.
        """


class IConnectionHooks(Interface):
    """Client and server connections, and what is spoken on them."""

    taggedValue("title", "Connection events")
    taggedValue("answers", {"next_layer": "the layer to use instead"})

    def clientconnect(root_layer: Any) -> None:
        """Called when a client has connected, before any byte is read.

        ``root_layer.client_conn`` is the client, ``root_layer.client_conn.address`` its
        ``(host, port)``. ``root_layer.client_conn.refuse("reason")`` closes the connection
        without an answer. One connection may carry many requests.
        """

    def clientdisconnect(root_layer: Any) -> None:
        """Called once when the client's connection is gone, after every event of it."""

    def next_layer(layer: ILayer) -> ILayer | None:
        """Called when a layer is about to start: what the next bytes shall be spoken as.

        ``layer.context`` has ``client_conn``, ``server_conn``, ``options``, ``layers`` (those
        already there, outermost first), ``mode``, and the bytes seen so far, of which none is
        consumed. The layer that the hook returns is used instead, and is what the next addon is
        given; ``None`` keeps the proposed one.
        """

    def serverconnect(server_conn: ServerConnection) -> None:
        """Called before the proxy connects to a server.

        ``server_conn.address``, never ``None``, is the ``(host, port)`` to connect to; changing it
        sends the connection elsewhere. ``server_conn.via`` is the proxy it goes through, or
        ``None``; it may be set to a text such as ``http://proxy.example:3128``. Where TLS follows,
        ``server_conn.sni`` may be set to the name that the server is asked for and has to prove.
        ``server_conn.refuse("reason")`` forbids the connection. Each call is followed by exactly
        one of: nothing (it was refused), ``serverconnect_failed``, or ``serverconnected`` and later
        ``serverdisconnect``. Another attempt is another ``ServerConnection``.
        """

    def serverconnected(server_conn: ServerConnection) -> None:
        """Called when the server accepted the connection, before anything is sent to it.

        ``server_conn.ip_address`` is the address that answered, ``server_conn.source_address``
        our own.
        """

    def serverconnect_failed(server_conn: ServerConnection) -> None:
        """Called when the server could not be connected to; ``server_conn.error`` says why."""

    def serverdisconnect(server_conn: ServerConnection) -> None:
        """Called once when a connection that was made is gone, whoever closed it."""


class IHTTPHooks(Interface):
    """Requests and responses, whatever version of HTTP carries them.

    The order is ``requestheaders``, ``request``, ``responseheaders``, ``response``. Every flow ends
    in exactly one of ``response`` and ``error``. ``flow.kill()`` works in each of them.
    """

    taggedValue("title", "HTTP events")

    def http_connect(flow: HTTPFlow) -> None:
        """Called for a CONNECT request, instead of the other HTTP events.

        ``flow.request.host`` and ``flow.request.port`` are the destination; changing them
        changes where the tunnel goes. Setting ``flow.response`` to anything but a 2xx answers
        the client with it and opens no tunnel. Called in regular and in upstream mode.
        """

    def http_connected(flow: HTTPFlow) -> None:
        """Called when the tunnel of a CONNECT is there, and nothing has come through it.

        ``flow.response`` is what the client is told. With ``connection_strategy=lazy`` nobody has
        been connected to yet. A tunnel that cannot be had has an ``error`` instead, and one that
        an ``http_connect`` hook refused neither.
        """

    def requestheaders(flow: HTTPFlow) -> None:
        """Called when a request's head has been read, before its body.

        ``flow.request`` is complete but for its content. What is decided here takes effect before
        the first byte goes to a server: ``host``, ``port`` and ``scheme`` of the request may be
        changed, ``flow.response`` set (the server is sent nothing), the flow killed. Rules that
        must hold belong here. ``flow.request.stream = True`` passes the body on as it comes;
        a callable is given every chunk, and ``b""`` at the end, and returns bytes, several
        chunks, or a Deferred of them. A message without content does not stream. Past a
        ``request`` hook whose addon's error policy is ``kill`` a body streams only where that
        addon sets it here itself: it is shown False, whatever others set.
        """

    def request(flow: HTTPFlow) -> None:
        """Called when the whole request is there, before it is sent.

        ``flow.request.content`` is the body; everything of the request may be changed. Setting
        ``flow.response`` answers the client from here: no server is asked, and ``response``
        follows. For a streamed body the event comes after its last byte went to the server, and
        ``flow.request.raw_content`` is ``None``.
        """

    def responseheaders(flow: HTTPFlow) -> None:
        """Called when a response's head has been read, before its body.

        ``flow.response`` is complete but for its content. The head may be changed, and
        ``flow.response.stream`` set as in ``requestheaders``.
        """

    def sse_event(flow: HTTPFlow) -> None:
        """Called for each event of an event stream (``text/event-stream``), before it goes on.

        ``flow.sse.events[-1]`` is the event: its ``data``, ``event`` (the type), ``id`` and
        ``retry`` may be changed, and ``drop()`` takes it out. ``flow.sse.inject("data")`` sends the
        client an event of your own, now or at any later time. The events come after
        ``responseheaders`` and before ``response``, one after another; somebody has to listen when
        the response begins. Comments are not shown, and go on at once. A compressed stream is
        decoded, and goes on without its ``Content-Encoding``.
        """

    def response(flow: HTTPFlow) -> None:
        """Called when the whole response is there, before it is sent to the client.

        ``flow.response.content`` is the body; everything of the response may be changed. For a
        streamed body the event comes after its last byte, and ``flow.response.raw_content`` is
        ``None``. Also called for a response that a hook set.
        """

    def error(flow: HTTPFlow) -> None:
        """Called instead of ``response`` when the flow failed or was killed.

        ``flow.error``, never ``None``, has ``msg``, ``timestamp`` and a stable ``code``.
        ``flow.response`` may be ``None``.
        """

    def intercept(flow: HTTPFlow) -> None:
        """Called once when a flow was paused by ``flow.intercept()``."""

    def resume(flow: HTTPFlow) -> None:
        """Called once when a paused flow goes on after ``flow.resume()``."""


class IWebSocketHooks(Interface):
    """WebSockets, over any version of HTTP.

    The handshake is a flow like any other, with ``requestheaders``, ``request``,
    ``responseheaders`` and ``response`` for the ``101``. The same flow goes on with these events;
    ``websocket_end`` is its last. ``flow.websocket`` has the messages,
    ``flow.websocket.inject(to_client, content)`` sends one of your own, now or at any later time,
    and ``flow.websocket.close(code, reason)`` closes both connections. ``flow.kill()`` resets
    them, ``flow.intercept()`` holds all messages after the event until ``flow.resume()``.
    """

    taggedValue("title", "WebSocket events")
    taggedValue("general", {"websockets_handshake": "websocket_handshake"})

    def websockets_handshake(flow: HTTPFlow) -> None:
        """Called for a request that asks for a WebSocket, before the server is contacted.

        It follows ``request``; headers may be changed. Setting ``flow.response`` answers the
        client from here. Extensions other than ``permessage-deflate`` are not offered to the
        server. A hook named ``websocket_handshake`` is called too.
        """

    def websocket_start(flow: HTTPFlow) -> None:
        """Called when client and server have agreed, before any message is passed on."""

    def websocket_message(flow: HTTPFlow) -> None:
        """Called for each message of text or of bytes, before it is passed on.

        ``flow.websocket.messages[-1]`` is the message: ``type`` is ``text`` or ``binary``,
        ``from_client`` says who sent it; ``content`` (bytes) and ``text`` may be changed, and
        ``drop()`` takes it out. ``injected`` is set where no peer sent it. The messages of a flow
        come one after another, both directions included. A message that nobody changes is passed
        on as it came: its fragments, its mask and its compression are kept.
        """

    def websocket_control(flow: HTTPFlow) -> None:
        """Called for each ping, pong and close, before it is passed on.

        It is ``flow.websocket.messages[-1]`` too, with the ``type`` ``ping``, ``pong`` or
        ``close``. A close has a ``close_code``, and its reason as ``text``. All may be changed;
        pings and pongs may be dropped.
        """

    def websocket_end(flow: HTTPFlow) -> None:
        """Called last and once for each `websocket_start`.

        ``flow.websocket.close_code`` and ``close_reason`` say how it ended and
        ``closed_by_client`` by whom; ``flow.error`` is set where it failed or was killed.
        """


class ITLSHooks(Interface):
    """TLS: what a client says first, and how handshakes end, with either side."""

    taggedValue("title", "TLS events")

    def tls_clienthello(hello: Any) -> None:
        """A client has said what TLS it wants, and nothing was answered yet.

        ``hello.sni`` and ``hello.alpn`` are what it asked for, ``hello.client_hello`` is the whole
        of it, ``hello.host`` and ``hello.port`` name the server (None and 0 for TLS with the proxy
        itself) and ``hello.context`` is the session's. Set ``hello.passthrough`` to hand the
        connection to the server untouched: not a byte of it is changed or seen then.
        """

    def tls_established(conn: ClientConnection | ServerConnection) -> None:
        """A handshake succeeded, with the client or with a server that was verified.

        ``conn`` is the connection: its ``sni``, ``alpn``, ``cipher_name``, ``tls_version`` and, of
        a server, ``cert`` and ``ssl_verification_error`` (what was overlooked, if anything).
        """

    def tls_failed(conn: ClientConnection | ServerConnection) -> None:
        """A handshake failed, or a server is not trusted.

        ``conn.tls_error`` says why: its ``code``, the ``alert`` (a number, or None) and whether the
        alert was ``received`` or is ours.
        """


class ITCPHooks(Interface):
    """Connections that are passed on as they are: tunnels, upgrades, TLS that is left alone.

    ``flow.client_conn`` and ``flow.server_conn`` are the two ends, ``flow.metadata`` has
    ``passthrough`` where TLS was left alone, and says why. ``flow.kill()`` ends both connections,
    ``flow.intercept()`` holds them after the event until ``flow.resume()``, and
    ``flow.inject(content, to_client=True)`` sends bytes of your own, from a hook or at any later
    time. The events come for connections that began after somebody began to listen; who does not
    listen pays nothing.
    """

    taggedValue("title", "TCP events")

    def tcp_start(flow: TCPFlow) -> None:
        """Called when bytes are about to be passed on, before any of them is.

        Where there is no connection to the server yet, it is made afterwards.
        """

    def tcp_message(flow: TCPFlow) -> None:
        """Called for all bytes that arrive at once, from either peer, before they are passed on.

        ``flow.messages[-1]`` has them in ``content``, which may be changed; ``from_client`` says
        where they came from. Empty ``content`` is not passed on. The messages of a flow come one
        after another, both directions included, and nothing more is read meanwhile. Where a message
        begins and ends means nothing: TCP has no messages. Where plain text turns to TLS (STARTTLS)
        what is said inside follows in the same flow, decrypted. Of the messages before the latest
        those are kept that fit into ``body_memory_limit``; ``flow.forgotten`` counts the others.
        """

    def tcp_error(flow: TCPFlow) -> None:
        """Called when a connection failed or was killed; ``flow.error`` says why."""

    def tcp_end(flow: TCPFlow) -> None:
        """Called last and once for each `tcp_start`, after `tcp_error` too.

        ``flow.bytes_from_client`` and ``flow.bytes_from_server`` say how much has come.
        """


class IUDPHooks(Interface):
    """Datagrams that are passed on as they are, in mode ``reverse:udp://HOST:PORT``.

    UDP knows no connections. A flow is what comes from one address and port, with what the server
    sends back to it; it ends when there was nothing for ``udp_idle_timeout``. There is no
    ``clientconnect``; to the server there is a socket for each flow, with ``serverconnect`` and
    the other events of connections. ``flow.kill()`` drops all that this address still sends,
    ``flow.intercept()`` holds it after the event until ``flow.resume()``, and
    ``flow.inject(content, to_client=True)`` sends a datagram of your own.
    """

    taggedValue("title", "UDP events")

    def udp_start(flow: UDPFlow) -> None:
        """Called for the first datagram of a client's address, before anything is passed on.

        ``flow.server_conn.address`` is where the datagrams are to go, and may be changed.
        """

    def udp_message(flow: UDPFlow) -> None:
        """Called for every datagram, from either peer, before it is passed on.

        It is ``flow.messages[-1]``; ``from_client`` says where it came from. ``content`` may be
        changed; ``drop()``, or empty content that was not empty before, keeps it back. The
        datagrams of a flow come one after another, both directions included; meanwhile others wait
        up to ``udp_queue_limit``, and those beyond are lost (``flow.lost``). Of the messages before
        the latest are kept up to ``body_memory_limit``; ``flow.forgotten`` counts the others.
        """

    def udp_error(flow: UDPFlow) -> None:
        """Called when the server cannot be reached, or the flow was killed; see ``flow.error``."""

    def udp_end(flow: UDPFlow) -> None:
        """Called last and once for each `udp_start`, after `udp_error` too."""


class IDNSHooks(Interface):
    """Questions to resolvers, over UDP and TCP: in mode ``dns``, and over TCP to port 53 elsewhere.

    Each question is a flow, which ends in exactly one of ``dns_response`` and ``dns_error``.
    ``flow.kill()`` leaves it without an answer, ``flow.intercept()`` holds it after the event until
    ``flow.resume()``. ``flow.transport`` is ``udp`` or ``tcp``; over UDP there is no
    ``clientconnect``. To each resolver that is asked there is ``serverconnect``, and the other
    events of connections; over TCP a connection serves many questions.
    """

    taggedValue("title", "DNS events")

    def dns_request(flow: DNSFlow) -> None:
        """Called for every question, before any resolver is asked.

        ``flow.request`` has ``name``, ``type`` and ``cls``; what is changed there is what the
        resolver is asked, and the client gets the answer under the name that it asked for. Setting
        ``flow.response`` answers from here: ``dns.Response.make(flow.request, "192.0.2.1")``, or
        with ``rcode="NXDOMAIN"``. ``flow.server_conn.address`` is the resolver that will be asked;
        changing it asks that one, and no other.
        """

    def dns_response(flow: DNSFlow) -> None:
        """Called for every answer, before it is sent to the client.

        ``flow.response`` has ``rcode`` and the lists ``answers``, ``authority`` and
        ``additional``, of records with ``name``, ``type``, ``ttl`` and ``data``. What is not
        changed is passed on byte for byte. Also called for an answer that a hook set.
        """

    def dns_error(flow: DNSFlow) -> None:
        """Called instead of ``dns_response`` when there is no answer, or the flow was killed.

        ``flow.error``, never ``None``, says why. Unless it was killed the client is told
        ``SERVFAIL``.
        """


class IProtocolHooks(Interface):
    """Connections whose messages are understood, whatever the protocol: Redis, SMTP, your own.

    Each of these stands in, in an addon that has no hook of that name, for the protocol's own
    event: ``protocol_message`` for ``redis_command``, say. ``flow.type`` is the protocol's name, as
    in ``redis``. ``flow.kill()`` ends both connections, ``flow.intercept()`` holds everything
    after the event until ``flow.resume()``, and ``flow.inject(to_client, message)`` sends a message
    of your own, now or at any later time.
    """

    taggedValue("title", "Events of other protocols")

    def protocol_start(flow: MessageFlow) -> None:
        """Called when a client begins, before anything is passed on.

        As a rule there is no connection to the server yet: it is made when the first message is
        passed on, to where ``flow.server_conn.address`` says.
        """

    def protocol_message(flow: MessageFlow) -> None:
        """Called for every message, from either peer, before it is passed on.

        It is ``flow.messages[-1]``; ``from_client`` says where it came from. It may be changed, or
        dropped by ``drop()``. The messages of a flow come one after another, both directions
        included. Of those before the latest about ``body_memory_limit`` bytes are kept;
        ``flow.forgotten`` counts the others.
        """

    def protocol_error(flow: MessageFlow) -> None:
        """Called when a connection failed or was killed; ``flow.error`` says why."""

    def protocol_end(flow: MessageFlow) -> None:
        """Called last and once for each `protocol_start`, after `protocol_error` too."""


HOOK_INTERFACES = (
    ILifecycleHooks,
    IConnectionHooks,
    ITLSHooks,
    IHTTPHooks,
    IWebSocketHooks,
    ITCPHooks,
    IUDPHooks,
    IDNSHooks,
    IProtocolHooks,
)
"""All interfaces that declare events, in the order of the reference."""


class IMaster(Interface):
    """The running proxy, as scripts see it: ``ctx.master``."""

    addons = Attribute("The `AddonChain`: ``add(addon)``, ``remove(addon)``, ``get(name)``.")
    options = Attribute("The proxy's `Options`; the same as ``ctx.options``.")
    listeners = Attribute("The addresses that are listened on, one text each.")
    passthrough = Attribute(
        "Which connections are left alone; what was learned: ``entries()``, ``remove(name)``."
    )

    def shutdown() -> Deferred[None]:
        """Stop the proxy in an orderly way; fires when it has stopped."""
