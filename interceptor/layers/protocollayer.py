"""What layers for a protocol of one's own say of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from interceptor.layers.context import Layer

if TYPE_CHECKING:
    from zope.interface.interface import InterfaceClass


class ProtocolLayer(Layer):
    """Base of layers that addons declare."""

    name: ClassVar[str]
    """Of small letters and digits: the beginning of its events' names, and a word of modes."""
    title: ClassVar[str]
    """The protocol's name for people; that of the layer where nothing else is said."""
    hooks: ClassVar[InterfaceClass | None] = None
    """The zope interface that declares the events, where the standard ones will not do."""
    port: ClassVar[int | None] = None
    """The port of servers that a mode names without one, and with TLS ``tls_port``."""
    tls_port: ClassVar[int | None] = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "title" not in cls.__dict__ and "name" in cls.__dict__:
            cls.title = cls.name
