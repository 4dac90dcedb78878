"""The errors that scripts may raise or meet: ``from interceptor import exceptions``."""

from __future__ import annotations

from interceptor.errors import (
    AuthorityError,
    CapabilityError,
    DecodeError,
    EventStreamError,
    FilterError,
    HookFailed,
    InterceptorError,
    LaunchError,
    ListenError,
    LocalProtocolError,
    LoopError,
    ModeError,
    OptionsError,
    ProtocolError,
    RemoteProtocolError,
    ScriptError,
    TLSError,
    UpstreamError,
)

__all__ = [
    "AuthorityError",
    "CapabilityError",
    "DecodeError",
    "EventStreamError",
    "FilterError",
    "HookFailed",
    "InterceptorError",
    "LaunchError",
    "ListenError",
    "LocalProtocolError",
    "LoopError",
    "ModeError",
    "OptionsError",
    "ProtocolError",
    "RemoteProtocolError",
    "ScriptError",
    "TLSError",
    "UpstreamError",
]
