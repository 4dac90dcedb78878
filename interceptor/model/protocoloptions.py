"""The options by which operators choose layers: which servers speak what."""

from __future__ import annotations

from typing import Final

from interceptor.model.option import Option


def hosts_option(name: str, title: str) -> Option:
    """Give the option ``NAME_hosts`` of the layer ``name``, which people call ``title``."""
    return Option(
        f"{name}_hosts",
        "sequence",
        (),
        "Regular expressions; with servers whose `host:port` one of them matches, the protocol is "
        f"taken to be {title}.",
        group="Other protocols",
    )


PROTOCOL_OPTIONS: Final = (hosts_option("redis", "Redis"), hosts_option("smtp", "SMTP"))
"""Those of the layers that the proxy brings along."""
