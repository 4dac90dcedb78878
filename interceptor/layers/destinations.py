"""Where a session goes: scheme, host and port, and what the scheme says about both legs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from interceptor.errors import ModeError
from interceptor.model.modes import SCHEMES
from interceptor.model.patterns import compile_patterns
from interceptor.model.wording import did_you_mean, shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from interceptor.hooks.declarations import LayerDeclaration
    from interceptor.layers.context import Context, Layer
    from interceptor.layers.serverside import ServerSide
    from interceptor.model.modes import ModeSpec

Destination = tuple[bytes, bytes, int]
"""Scheme, host and port of a server.

``http`` and ``https`` are for whatever is spoken there, HTTP most likely; ``tcp`` and ``tls`` for
bytes in which nothing is looked for. With ``https`` and ``tls`` the server is spoken to in TLS.
"""

RAW: Final = frozenset((b"tcp", b"tls"))
"""Schemes of servers whose bytes are passed on as they are."""

ENCRYPTED: Final = frozenset((b"https", b"tls"))
"""Schemes of servers that are spoken to in TLS."""


Layers = Mapping[str, "LayerDeclaration"]
"""The layers that addons have declared, by their names."""


def mode_destination(mode: ModeSpec, layers: Layers) -> Destination | None:
    """Return the one server of a reverse mode; None where clients name their servers.

    Raises `ModeError` where the mode names a layer that is not there, or not any more.
    """
    if not mode.scheme or mode.kind != "reverse":
        return None
    scheme, port = mode.scheme.encode(), mode.port
    if mode.names_layer:
        layer, encrypted = mode_layer(mode, layers)
        scheme = b"tls" if encrypted else b"tcp"
        port = port or layer.port(encrypted)
    return (scheme, mode.host.encode("utf-8", "surrogateescape"), port)


def by_name(mode: ModeSpec) -> bool:
    """Whether a reverse mode has no server of its own: clients choose one of several backends."""
    return mode.kind == "reverse" and not mode.scheme


def mode_layer(mode: ModeSpec, layers: Layers) -> tuple[LayerDeclaration, bool]:
    """Return the layer that a reverse mode names, and whether its server is spoken to in TLS.

    Raises `ModeError` where there is no such layer.
    """
    scheme = mode.scheme
    layer = layers.get(scheme)
    if layer is not None:
        return layer, False
    layer = layers.get(scheme.removesuffix("s"))
    if layer is not None:
        return layer, True
    names = ", ".join([SCHEMES, *layers])
    near = did_you_mean(scheme, names.split(", "))
    raise ModeError(
        f"mode {shown(mode.text)}: scheme {shown(scheme)} is not known, only {names} are{near}"
    )


def check_modes(modes: Iterable[ModeSpec], layers: Layers) -> None:
    """Raise `ModeError` where a mode names a layer that nobody has declared, or lacks its port.

    To be called once all addons are there.
    """
    for mode in modes:
        if mode.names_layer:
            layer, encrypted = mode_layer(mode, layers)
            if not (mode.port or layer.port(encrypted)):
                raise ModeError(
                    f"mode {shown(mode.text)}: a server of scheme `{mode.scheme}` needs a port: "
                    f"`{mode.scheme}://HOST:PORT`"
                )


def named_layer(
    context: Context, server: ServerSide | None, destination: Destination
) -> Layer | None:
    """Return the layer that the operator chose for a server, by a mode or an option."""
    layers = context.environment.hooks.declared.layers
    if not layers:
        return None
    if context.mode_spec.names_layer:
        found: Layer = mode_layer(context.mode_spec, layers)[0].factory(
            context, server, destination
        )
        return found
    names: list[str] | None = None
    for layer in layers.values():
        patterns = getattr(context.options, layer.option, ())
        if not patterns:
            continue
        if names is None:
            names = _names(context, server, destination)
        if any(each.search(name) for each in _compiled(layer.option, patterns) for name in names):
            found = layer.factory(context, server, destination)
            return found
    return None


_compiled = lru_cache(maxsize=64)(compile_patterns)


def _names(context: Context, server: ServerSide | None, destination: Destination) -> list[str]:
    """Return all that the server is called, each with its port."""
    _, host, port = destination
    address = None if server is None else server.server_conn.ip_address
    hosts = (
        host.decode("utf-8", "surrogateescape"),
        context.client_conn.sni,
        None if address is None else address[0],
    )
    return [f"{each}:{port}" for each in hosts if each]
