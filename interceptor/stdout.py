"""Printing on stdout, where what reads it may be gone or full."""

from __future__ import annotations

import sys

import click


def emit(content: str | bytes) -> None:
    """Print a text of one or several lines, or bytes as they are.

    Raises `click.ClickException` when they cannot be written, and `BrokenPipeError` when whoever
    read them has gone.
    """
    try:
        if isinstance(content, str):
            click.echo(content.rstrip("\n"))
        else:
            click.echo(content, nl=False)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise click.ClickException(f"cannot write: {error.strerror}") from None
