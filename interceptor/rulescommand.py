"""The command ``interceptor transparent-rules``: what a packet filter has to be told."""

from __future__ import annotations

from typing import Final

import click

from interceptor.stdout import emit

_LONGEST_INTERFACE: Final = 15
"""Characters that the kernel takes in an interface's name."""


@click.command("transparent-rules", short_help="Print packet filter rules for transparent mode.")
@click.option(
    "--listen",
    "listeners",
    multiple=True,
    default=("127.0.0.1:8080",),
    show_default=True,
    metavar="LISTEN",
    help="Where the proxy listens in transparent mode: PORT, HOST:PORT or [V6]:PORT. May be "
    "repeated, for IPv4 and IPv6.",
)
@click.option(
    "--interface",
    "interfaces",
    multiple=True,
    metavar="NAME",
    help="Take the connections of other machines that come in by this interface. May be repeated.",
)
@click.option(
    "--user",
    "users",
    multiple=True,
    metavar="USER",
    help="Take the connections of this user of this machine. May be repeated.",
)
@click.option("--all-users", is_flag=True, help="Take the connections of all users but the proxy.")
@click.option(
    "--proxy-user",
    metavar="USER",
    help="The user that the proxy runs as, whose connections are left alone.",
)
@click.option(
    "--mark",
    type=click.IntRange(1, 0xFFFFFFFF),
    metavar="NUMBER",
    help="The proxy's option socket_mark: connections that have it are left alone.",
)
@click.option(
    "--port",
    "ports",
    multiple=True,
    type=click.IntRange(1, 65535),
    metavar="PORT",
    help="Take connections to this port only. May be repeated.",
)
@click.option("--tproxy", is_flag=True, help="Use TPROXY (the option tproxy), not a redirect.")
def transparent_rules(
    listeners: tuple[str, ...],
    interfaces: tuple[str, ...],
    users: tuple[str, ...],
    all_users: bool,
    proxy_user: str | None,
    mark: int | None,
    ports: tuple[int, ...],
    tproxy: bool,
) -> None:
    """Print nftables rules for transparent mode, and how to undo them.

    Nothing is applied. Connections to this machine itself are left alone.
    """
    from interceptor.model.modes import parse_mode
    from interceptor.model.redirection import Redirection

    redirection = Redirection(
        tuple(parse_mode(f"transparent@{listener}").listen for listener in listeners),
        tuple(_interface(name) for name in interfaces),
        tuple(_number(name) for name in users),
        all_users,
        None if proxy_user is None else _number(proxy_user),
        mark,
        ports,
        tproxy,
    )
    emit(redirection.as_text())


def _number(name: str) -> int:
    """Return a user's number, given that or the name."""
    import pwd

    if name.isascii() and name.isdigit() and len(name) <= 10:
        return int(name)
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise click.ClickException(f"there is no user {name!r}") from None


def _interface(name: str) -> str:
    # It is put between quotes.
    if not 0 < len(name) <= _LONGEST_INTERFACE or any(
        not 32 < ord(character) < 127 or character in '"\\/' for character in name
    ):
        raise click.ClickException(f"{name!r} is not the name of an interface")
    return name
