"""One run of a command beside a proxy: its files, its variables, its start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import Deferred

from interceptor.errors import OptionsError
from interceptor.launch.environment import Setting, command_environment, inherited_bundles
from interceptor.launch.files import NODE_MODULE, TrustFiles
from interceptor.launch.process import Command
from interceptor.model.passwords import credentials_for
from interceptor.net.trust import platform_roots

if TYPE_CHECKING:
    from interceptor.model.modes import ModeSpec
    from interceptor.model.options import Options
    from interceptor.net.addresses import HostPort
    from interceptor.net.authority import Authority

_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, not bound to


class RunningProxy(Protocol):
    """What is looked at of an `interceptor.service.InterceptorService` that has started."""

    options: Options

    @property
    def addresses(self) -> list[tuple[ModeSpec, HostPort]]:
        """The mode and the address of each listener."""

    @property
    def authority(self) -> Authority:
        """Whose certificate clients are to trust."""


class CommandRun:
    """Starts a command once its proxy is up, and cleans up behind it (`close`)."""

    def __init__(self, arguments: Sequence[str], environ: Mapping[str, str], reactor: Any) -> None:
        self._command = Command(arguments, reactor)
        self._environ = environ
        self._files: TrustFiles | None = None

    def start(self, proxy: RunningProxy) -> Deferred[int]:
        """Start the command; fires with its exit status.

        Raises `LaunchError`, and `OptionsError` where no listener of the proxy can be named by the
        variables, or the password that it asks for is not known.
        """
        host, port = proxy_address(proxy.addresses)
        credentials = credentials_for(proxy.options.proxyauth)
        sources = [str(platform_roots()), *inherited_bundles(self._environ)]
        sources += _certificate_files(proxy.options.ssl_verify_upstream_trusted_ca)
        files = self._files = TrustFiles(proxy.authority.pem, sources, self._environ)
        files.write()
        setting = Setting(
            host,
            port,
            files.bundle,
            files.trust_store,
            files.wgetrc,
            NODE_MODULE,
            credentials,
        )
        return self._command.start(command_environment(self._environ, setting))

    def pass_on(self, number: int) -> None:
        """Send the command a signal that we got."""
        self._command.pass_on(number)

    def terminate(self) -> None:
        """Ask the command to end."""
        self._command.terminate()

    def close(self) -> None:
        """Remove the files."""
        if self._files is not None:
            self._files.remove()


def proxy_address(addresses: Sequence[tuple[ModeSpec, HostPort]]) -> HostPort:
    """Choose the listener that programs are told of: the first on TCP that is a proxy's.

    Raises `OptionsError` when there is none.
    """
    for mode, (host, port) in addresses:
        if mode.kind in ("auto", "regular", "upstream") and port:
            return (_ANY.get(host, host), port)
    raise OptionsError(
        "to run a command a listener in regular, upstream or auto mode on a TCP port is needed, "
        "such as `--mode regular@127.0.0.1:0`"
    )


def _certificate_files(path: str | None) -> list[str]:
    if path is None:
        return []
    found = Path(path).expanduser()
    return [str(each) for each in (sorted(found.iterdir()) if found.is_dir() else [found])]
