"""The protocols, besides those of the web, that the proxy brings along."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from interceptor.addons import redis, smtp
from interceptor.hooks.loader import Loader

if TYPE_CHECKING:
    from zope.interface.interface import InterfaceClass

    from interceptor.hooks.declarations import Declarations
    from interceptor.model.options import Options

PROTOCOLS: Final = (redis, smtp)
"""Modules that are addons, each of which declares a layer."""

PROTOCOL_HOOKS: Final[tuple[InterfaceClass, ...]] = (redis.IRedisHooks, smtp.ISMTPHooks)
"""The interfaces of their events, for the reference."""


def declare_protocols(options: Options, declared: Declarations | None = None) -> None:
    """Declare all of them for good, and their options, before any addon is there."""
    loader = Loader(options, declared=declared)
    for module in PROTOCOLS:
        module.load(loader)
