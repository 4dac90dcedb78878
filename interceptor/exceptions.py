"""The errors that scripts may raise or meet: ``from interceptor import exceptions``."""

from __future__ import annotations

from interceptor.errors import (
    DecodeError,
    FilterError,
    HookFailed,
    InterceptorError,
    ListenError,
    LocalProtocolError,
    LoopError,
    ModeError,
    OptionsError,
    ProtocolError,
    RemoteProtocolError,
    ScriptError,
    UpstreamError,
)

__all__ = [
    "DecodeError",
    "FilterError",
    "HookFailed",
    "InterceptorError",
    "ListenError",
    "LocalProtocolError",
    "LoopError",
    "ModeError",
    "OptionsError",
    "ProtocolError",
    "RemoteProtocolError",
    "ScriptError",
    "UpstreamError",
]
