"""Which words begin a server endpoint string, and modes read with that knowledge."""

from __future__ import annotations

from collections.abc import Iterable

from interceptor.model.modes import DEFAULT_PREFIXES, ModeSpec, parse_modes


def registered_prefixes() -> frozenset[str]:
    """Give the prefixes of all installed endpoint plug-ins, and of Twisted's own endpoints.

    Looks through every installed plug-in, which takes some tens of milliseconds.
    """
    from twisted.internet.interfaces import IStreamServerEndpointStringParser
    from twisted.plugin import getPlugins

    plugins = getPlugins(IStreamServerEndpointStringParser)
    return DEFAULT_PREFIXES | {plugin.prefix for plugin in plugins}


def listening_modes(texts: Iterable[str]) -> tuple[ModeSpec, ...]:
    """Read modes as `parse_modes` does, with the prefixes that are installed.

    The plug-ins are only looked for when a LISTEN begins with a word that could be one of theirs.
    Raises `ModeError`.
    """
    texts = tuple(texts)
    if any(map(_could_be_plugin, texts)):
        return parse_modes(texts, registered_prefixes())
    return parse_modes(texts)


def _could_be_plugin(text: str) -> bool:
    _, at, listen = text.rpartition("@")
    word = listen.partition(":")[0]
    return bool(at) and word[:1].isalpha() and word not in DEFAULT_PREFIXES and word != "localhost"
