"""Commands with commands of their own."""

from __future__ import annotations

import click

from interceptor.model.wording import did_you_mean


class CommandGroup(click.Group):
    """A group of commands that can tell which of them was meant."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = did_you_mean(args[0], self.commands)
            if near:
                raise click.UsageError(f"No such command {args[0]!r}{near}", ctx) from error
            raise
