"""The commands ``interceptor ca …``: show the authority, export it, tell how it gets trusted."""

from __future__ import annotations

import os
import shlex
import sys
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from interceptor.commandgroup import CommandGroup
from interceptor.model.wording import escape_controls, shown
from interceptor.stdout import emit

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography import x509

    from interceptor.net.authority import Authority
    from interceptor.trusthelp import Files, Guide, Step

# What reads certificates is imported by the command that needs it: this module is always loaded.

_WIDTH: Final = 88
_Command = TypeVar("_Command", bound="Callable[..., Any]")


@click.group(cls=CommandGroup, no_args_is_help=False)
def ca() -> None:
    """Show, export and trust the certificate authority."""


def _choosing(command: _Command) -> _Command:
    """Add what chooses the authority, as `interceptor run` has it."""
    for option in (
        click.option(
            "--config",
            metavar="FILE",
            help="Read options from this TOML file instead of config.toml in confdir.",
        ),
        click.option(
            "--set",
            "assignments",
            multiple=True,
            metavar="NAME=VALUE",
            help="Set an option, such as confdir or ca_file. May be repeated.",
        ),
    ):
        command = option(command)
    return command


@ca.command(short_help="Show the certificate and its files.")
@_choosing
def show(config: str | None, assignments: tuple[str, ...]) -> None:
    """Show the certificate that clients are to trust, and its files.

    It is made if there is none yet, unless the option ca_create forbids that.
    """
    authority = _load(config, assignments)
    lines = list(_about(authority.anchor))
    if len(authority.chain) > 1:
        lines.append(("Signs with", authority.certificate.subject.rfc4514_string()))
    lines.append(("Key file", authority.path))
    lines.extend(("Certificate", path) for path in authority.certificate_files)
    emit("\n".join(f"{f'{name}:':<13}{escape_controls(value)}" for name, value in lines))


@ca.command(short_help="Write the certificate to a file or to stdout.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["pem", "der", "p12"]),
    default="pem",
    show_default=True,
    help="Text, binary, or PKCS #12 without password, which Java can use as its trust store.",
)
@click.argument("file", required=False)
@_choosing
def export(form: str, file: str | None, config: str | None, assignments: tuple[str, ...]) -> None:
    """Write the certificate that clients are to trust to FILE, or to stdout.

    The key is never written.
    """
    authority = _load(config, assignments)
    content = {"pem": authority.pem, "der": authority.der, "p12": authority.p12}[form]
    if file is None or file == "-":
        if form != "pem" and sys.stdout.isatty():
            raise click.UsageError(f"{form} is binary: name a FILE, or redirect the output")
        emit(content)
        return
    try:
        if os.path.exists(file) and os.path.samefile(file, authority.path):
            raise click.UsageError(f"{shown(file, 4096)} is the file with the key: name another")
        with open(file, "wb") as stream:
            stream.write(content)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise click.ClickException(f"cannot write {shown(file, 4096)}: {reason}") from None


@ca.command(short_help="Tell how a system or program gets to trust it.")
@click.argument("platform", required=False)
@_choosing
def install_help(platform: str | None, config: str | None, assignments: tuple[str, ...]) -> None:
    """Tell how PLATFORM, a system or a program, is made to trust the authority.

    Without PLATFORM the one for this system is shown, with a list of all.
    """
    from interceptor.model.wording import did_you_mean
    from interceptor.trusthelp import GUIDES, find_guide

    keys = [guide.key for guide in GUIDES]
    if platform is None:
        guide = find_guide(_this_system())
    else:
        guide = find_guide(platform)
        if guide is None:
            raise click.UsageError(
                f"no instructions for {shown(platform)}{did_you_mean(platform, keys)}; "
                f"there are some for {', '.join(keys)}"
            )
    parts: list[str] = []
    if guide is not None:
        parts.extend(_guide(guide, _load(config, assignments)))
    if platform is None:
        parts.append("There are instructions for:")
        parts.append("\n".join(f"  {each.key:<10}{each.title}" for each in GUIDES))
        parts.append("Show them with `interceptor ca install-help NAME`.")
    emit("\n\n".join(parts))


def _load(config: str | None, assignments: tuple[str, ...]) -> Authority:
    from interceptor.config import gather_options
    from interceptor.model.coreoptions import core_options
    from interceptor.net.authority import Authority

    # No script will declare what is unknown here: a name that is mistyped must not be passed over.
    core_options().set(*assignments, source="--set")
    options = gather_options(config=config, environ=os.environ, assignments=assignments)
    return Authority.load(
        options.confdir,
        create=options.ca_create,
        ca_file=options.ca_file,
        passphrase=options.ca_passphrase,
    )


def _about(certificate: x509.Certificate) -> Iterator[tuple[str, str]]:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import rsa

    from interceptor.net.authority import fingerprint

    key = certificate.public_key()
    size = getattr(key, "key_size", 0)
    yield "Subject", certificate.subject.rfc4514_string()
    if certificate.issuer != certificate.subject:
        yield "Issuer", certificate.issuer.rfc4514_string()
    yield "Key", f"{'RSA' if isinstance(key, rsa.RSAPublicKey) else 'EC'}, {size} bits"
    yield "Valid from", f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M:%S} UTC"
    yield "Valid until", f"{certificate.not_valid_after_utc:%Y-%m-%d %H:%M:%S} UTC"
    yield "Serial", f"{certificate.serial_number:x}"
    yield "SHA-256", fingerprint(certificate)
    # Many programs show nothing else to compare with.
    yield "SHA-1", fingerprint(certificate, hashes.SHA1())  # noqa: S303 - shown, not relied on


def _guide(guide: Guide, authority: Authority) -> Iterator[str]:
    from interceptor.net.authority import common_name
    from interceptor.trusthelp import Files

    # Of a subject somebody else chose nothing may reach a command line.
    name = "".join(c for c in common_name(authority.anchor) if c.isalnum() or c in " -_.")
    if authority.certificate_files:
        pem, cer, p12 = map(shlex.quote, authority.certificate_files)
        files = Files(pem, cer, p12, name)
    else:
        files = Files(name=name)
    yield f"{guide.title}\n{'=' * len(guide.title)}"
    if not authority.certificate_files:
        form = {"cer": "der"}.get(guide.file, guide.file)
        yield "Write the certificate to a file first."
        yield f"    interceptor ca export --format {form} {getattr(files, guide.file)}"
    yield from _steps(guide.install, files)
    if guide.remove:
        yield "To undo it:"
        yield from _steps(guide.remove, files)


def _steps(steps: tuple[Step, ...], files: Files) -> Iterator[str]:
    for step in steps:
        yield textwrap.fill(files.fill(step.text), _WIDTH, break_long_words=False)
        if step.commands:
            yield "\n".join(f"    {files.fill(command)}" for command in step.commands)


def _this_system() -> str:
    """The name that the guide for this system may have."""
    from interceptor.trusthelp import find_guide

    if not sys.platform.startswith("linux"):
        return sys.platform
    import platform

    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return ""
    names = [release.get("ID", ""), *release.get("ID_LIKE", "").split()]
    return next((name for name in names if find_guide(name) is not None), "")
