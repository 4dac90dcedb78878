"""The variables that make programs use a proxy and trust its authority."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

PROXY_VARIABLES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "WS_PROXY", "WSS_PROXY")
"""Set in upper and in lower case: some programs know but one of them, and which one differs."""

OTHER_PROXY_VARIABLES: Final = (
    "CARGO_HTTP_PROXY",
    "PIP_PROXY",
    "npm_config_https_proxy",
    "npm_config_proxy",
)
"""Programs whose configuration files would otherwise be stronger than the variables above."""

BUNDLE_VARIABLES: Final = (
    "SSL_CERT_FILE",  # OpenSSL, and with it Python, Ruby, Perl, PHP; Go, rustls, .NET, uv
    "AWS_CA_BUNDLE",
    "CARGO_HTTP_CAINFO",
    "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
    "CURL_CA_BUNDLE",
    "DENO_CERT",
    "GIT_SSL_CAINFO",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "HEX_CACERTS_PATH",
    "HTTPLIB2_CA_CERTS",
    "JULIA_SSL_CA_ROOTS_PATH",
    "NIX_SSL_CERT_FILE",
    "NODE_EXTRA_CA_CERTS",
    "PERL_LWP_SSL_CA_FILE",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "WEBSOCKET_CLIENT_CA_BUNDLE",
    "npm_config_cafile",
)
"""Set to a file of certificates, each the whole of what a program trusts, or an addition to it."""

CLEARED: Final = (
    "NO_PROXY",
    "npm_config_noproxy",
    "INTERCEPTOR_CA_PASSPHRASE",
    "INTERCEPTOR_PROXYAUTH",
)
"""Taken away, whatever their case: hosts that are not to be proxied, and our own secrets."""


@dataclass(frozen=True, slots=True)
class Setting:
    """Where the proxy is, and the files that programs are pointed to.

    ``host`` has no brackets. ``bundle`` holds roots as PEM, ``trust_store`` the same for Java,
    ``wgetrc`` what GNU wget reads at its start, ``node_module`` what Node does. ``credentials`` are
    the user name and the password that the proxy asks for, if it does.
    """

    host: str
    port: int
    bundle: str
    trust_store: str
    wgetrc: str
    node_module: str
    credentials: tuple[str, str] | None = None

    @property
    def url(self) -> str:
        """The proxy as variables name it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        user = ""
        if self.credentials is not None:
            quoted = (quote(each, safe="", errors="surrogateescape") for each in self.credentials)
            user = ":".join(quoted) + "@"
        return f"http://{user}{host}:{self.port}"


def command_environment(environ: Mapping[str, str], setting: Setting) -> dict[str, str]:
    """Give ``environ`` with all variables set that let a program use and trust the proxy.

    What is inherited for Java, Node and git stays, with ours behind it.
    """
    cleared = {name.lower() for name in CLEARED}
    changed = {name: value for name, value in environ.items() if name.lower() not in cleared}
    for name in PROXY_VARIABLES:
        changed[name] = changed[name.lower()] = setting.url
    changed.update(dict.fromkeys(OTHER_PROXY_VARIABLES, setting.url))
    changed.update(dict.fromkeys(BUNDLE_VARIABLES, setting.bundle))
    changed["WGETRC"] = setting.wgetrc
    changed["NODE_USE_ENV_PROXY"] = "1"
    _append(changed, "NODE_OPTIONS", f"--require={_node_quoted(setting.node_module)}")
    _append(changed, "JAVA_TOOL_OPTIONS", " ".join(_java_options(setting)))
    _configure_git(changed, {"http.proxy": setting.url})
    return changed


def _append(environment: dict[str, str], name: str, value: str) -> None:
    environment[name] = f"{environment.get(name, '')} {value}".strip()


def _node_quoted(path: str) -> str:
    # As Node reads NODE_OPTIONS: double quotes hold spaces, and backslashes within them escape.
    if " " not in path and '"' not in path:
        return path
    return '"' + path.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _java_options(setting: Setting) -> list[str]:
    properties = {
        # Without a value of its own the list has the loopback addresses.
        "http.nonProxyHosts": "",
        "javax.net.ssl.trustStore": setting.trust_store,
        "javax.net.ssl.trustStoreType": "PKCS12",
        # The store has no password, and an inherited one would not fit it.
        "javax.net.ssl.trustStorePassword": "",
    }
    for scheme in ("http", "https"):
        properties[f"{scheme}.proxyHost"] = setting.host
        properties[f"{scheme}.proxyPort"] = str(setting.port)
    # The machine takes quotes off much as a shell does.
    return [
        shlex.quote(option) if any(c in option for c in " \t'\"") else option
        for option in (f"-D{name}={value}" for name, value in properties.items())
    ]


def _configure_git(environment: dict[str, str], values: Mapping[str, str]) -> None:
    """Add to git's configuration: that of a user's file is stronger than the proxy variables."""
    try:
        count = max(0, int(environment.get("GIT_CONFIG_COUNT", "0")))
    except ValueError:
        # git itself complains about it.
        return
    for number, (key, value) in enumerate(values.items(), count):
        environment[f"GIT_CONFIG_KEY_{number}"] = key
        environment[f"GIT_CONFIG_VALUE_{number}"] = value
    environment["GIT_CONFIG_COUNT"] = str(count + len(values))


def inherited_bundles(environ: Mapping[str, str]) -> list[str]:
    """Give the files that the variables of `BUNDLE_VARIABLES` name now, each once."""
    named = [environ.get(name, "") for name in BUNDLE_VARIABLES]
    return list(dict.fromkeys(path for path in named if path and os.path.isfile(path)))
