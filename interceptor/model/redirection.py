"""nftables rules that lead connections to transparent listeners, as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from interceptor.errors import OptionsError
from interceptor.model.hostports import join_host_port
from interceptor.model.modes import ListenSpec

TABLE: Final = "interceptor"
"""The name of the table that all rules are in, so that it can be removed as a whole."""

TPROXY_MARK: Final = 1
"""What marks packets that TPROXY took, so that they are routed to this machine."""

_Targets = Mapping[int, tuple[IPv4Address | IPv6Address, int]]
"""Address and port of a listener, for each version of IP."""

_ROUTES: Final = 100
_INDENT: Final = " " * 8


@dataclass(frozen=True, slots=True)
class Redirection:
    """Whose connections are to go to which listeners.

    ``interfaces`` are names of network interfaces that other machines' connections come in by,
    ``users`` numbers of users of this machine, or all of them with ``all_users``. The proxy's own
    connections are left alone: those of ``proxy_user``, the number of the user that it runs as, and
    those with ``mark``, which is its option ``socket_mark``. ``ports`` are the destinations' ports;
    without any all are meant. With ``tproxy`` connections are handed over by TPROXY, else they are
    redirected.
    """

    listeners: Sequence[ListenSpec]
    interfaces: Sequence[str] = ()
    users: Sequence[int] = ()
    all_users: bool = False
    proxy_user: int | None = None
    mark: int | None = None
    ports: Sequence[int] = ()
    tproxy: bool = False

    def as_text(self) -> str:
        """Return a file for ``nft -f``, with comments that tell how to apply and undo it.

        Raises `OptionsError` where no rule could do what is asked for.
        """
        self._check_whose()
        targets = self._targets()
        lines = list(self._comments(targets))
        # Declared and deleted first, it can be applied again: nft takes a file as a whole.
        lines += [f"table inet {TABLE}", f"delete table inet {TABLE}", f"table inet {TABLE} {{"]
        if self.interfaces:
            kind = "filter hook prerouting priority mangle"
            if not self.tproxy:
                kind = "nat hook prerouting priority dstnat"
            names = _set([f'"{name}"' for name in self.interfaces])
            lines += self._chain("prerouting", kind, [f"iifname {names}"], targets)
        if self.users or self.all_users:
            lines += self._chain(
                "output", "nat hook output priority -100", list(self._local()), targets
            )
        lines.append("}")
        return "\n".join(lines)

    def _check_whose(self) -> None:
        local = bool(self.users) or self.all_users
        if not local and not self.interfaces:
            raise OptionsError("whose connections? Give --interface, --user or --all-users")
        if self.users and self.all_users:
            raise OptionsError("--user and --all-users exclude each other")
        if self.tproxy and local:
            raise OptionsError("TPROXY takes what comes in by interfaces; users need a redirect")
        if self.tproxy and self.mark == TPROXY_MARK:
            raise OptionsError(f"mark {TPROXY_MARK} is what TPROXY itself uses here: take another")
        if self.mark is not None:
            return
        if self.all_users and self.proxy_user is None:
            raise OptionsError(
                "the proxy's own connections must not come back to it: give --proxy-user, the user "
                "that it runs as, or --mark, its option socket_mark"
            )
        if self.proxy_user in self.users:
            raise OptionsError(
                "the proxy runs as one of these users, so that its own connections would come back "
                "to it: run it as another one, or give --mark, its option socket_mark"
            )

    def _targets(self) -> _Targets:
        """Return address and port for each version of IP that there is a listener for."""
        targets: dict[int, tuple[IPv4Address | IPv6Address, int]] = {}
        local = bool(self.users) or self.all_users
        for listener in self.listeners:
            if listener.kind != "tcp" or not listener.port:
                raise OptionsError(
                    f"rules need a listener with an address and a port, which {listener} has not"
                )
            try:
                address = ip_address(listener.host)
            except ValueError:
                raise OptionsError(
                    f"rules need a listener with an IP address, not a name: {listener.host}"
                ) from None
            if local and not (address.is_loopback or address.is_unspecified):
                raise OptionsError(
                    "connections of users are redirected to 127.0.0.1 and ::1, not to "
                    f"{listener.host}"
                )
            if self.interfaces and not self.tproxy and address.is_loopback:
                raise OptionsError(
                    f"connections from interfaces cannot be redirected to {listener.host}: "
                    f"listen on 0.0.0.0:{listener.port} or [::]:{listener.port}"
                )
            # At `::` it takes IPv4 as well.
            both = address.version == 6 and address.is_unspecified
            for version in (4, 6) if both else (address.version,):
                if version in targets:
                    raise OptionsError(f"two listeners take IPv{version}: only one can")
                targets[version] = address, listener.port
        return targets

    def _comments(self, targets: _Targets) -> Iterator[str]:
        modes = " ".join(f"--mode 'transparent@{listener}'" for listener in self.listeners)
        more = " --set tproxy=true" if self.tproxy else ""
        if self.mark is not None:
            more += f" --set socket_mark={self.mark}"
        yield f"# For:   interceptor run {modes}{more}"
        yield "# Apply: nft -f FILE, with this in the FILE, or - for standard input"
        yield f"# Undo:  nft delete table inet {TABLE}"
        if not self.tproxy:
            return
        yield "# Packets that were taken also have to be routed to this machine itself."
        for title, verb in (("Apply", "add"), ("Undo", "del")):
            yield f"# {title}:"
            for version in sorted(targets):
                yield f"#   ip -{version} rule {verb} fwmark {TPROXY_MARK} lookup {_ROUTES}"
                yield f"#   ip -{version} route {verb} local default dev lo table {_ROUTES}"

    def _local(self) -> Iterator[str]:
        """What connections from this machine have to match."""
        if self.mark is not None:
            yield f"meta mark != {self.mark}"
        if self.users:
            yield f"meta skuid {_set(self.users)}"
        elif self.proxy_user is not None:
            yield f"meta skuid != {self.proxy_user}"

    def _chain(
        self,
        name: str,
        kind: str,
        matches: list[str],
        targets: _Targets,
    ) -> Iterator[str]:
        # What goes to this machine itself, as its own ssh does, was meant for it.
        matches.append("fib daddr type != local")
        matches.append(f"tcp dport {_set(self.ports)}" if self.ports else "meta l4proto tcp")
        yield f"    chain {name} {{"
        yield f"{_INDENT}type {kind}; policy accept;"
        for version, (address, port) in sorted(targets.items()):
            yield _INDENT + " ".join(
                [*matches, f"meta nfproto ipv{version}", self._verdict(version, address, port)]
            )
        yield "    }"

    def _verdict(self, version: int, address: IPv4Address | IPv6Address, port: int) -> str:
        if not self.tproxy:
            return f"redirect to :{port}"
        to = f":{port}" if address.is_unspecified else join_host_port(str(address), port)
        protocol = "ip" if version == 4 else "ip6"
        return f"tproxy {protocol} to {to} meta mark set {TPROXY_MARK} accept"


def _set(words: Sequence[object]) -> str:
    return "{ " + ", ".join(map(str, words)) + " }"
