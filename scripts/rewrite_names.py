"""Answer DNS questions from a table, like a hosts file, and hide the names of another.

Arguments: ``NAME=ANSWER``, ``!NAME``, or ``@FILE`` with one of these on each line (empty lines and
lines that begin with ``#`` are skipped). For mode ``dns``::

    interceptor run --mode dns@5353 -s "scripts/rewrite_names.py api.test=::1 '!ads.example'"

``ANSWER`` is an IPv4 or IPv6 address, and may be given several times for one name; what is asked
for besides addresses is then said not to be there. Or it is another name, whose answers are given
in the place of those of the first. ``!NAME`` says that there is no such name (``NXDOMAIN``). A
``NAME`` that begins with a dot is meant with everything below it: ``!.ads.example``. Should the
script fail, the question is not passed on (``error_policy``).
"""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

from interceptor import ctx, dns, exceptions

error_policy = "kill"


class RewriteNames:
    """Answers for the names in ``table``: addresses, another name, or None for no such name."""

    name = "rewrite-names"
    error_policy = error_policy

    def __init__(self, table: dict[str, list[str] | str | None]) -> None:
        self.table = table

    def dns_request(self, flow: dns.DNSFlow) -> None:
        name = flow.request.name.lower()
        found = self.find(name)
        if found is None:
            return
        answer = self.table[found]
        if answer is None:
            flow.response = dns.Response.make(flow.request, rcode="NXDOMAIN")
        elif isinstance(answer, str):
            flow.request.name = answer
        else:
            flow.response = dns.Response.make(flow.request, answer)

    def find(self, name: str) -> str | None:
        """Return the entry for a name: its own, or the one for most of its end."""
        if name in self.table:
            return name
        rest = "." + name
        while rest:
            if rest in self.table:
                return rest
            _, dot, rest = rest[1:].partition(".")
            rest = dot + rest
        return None


def parse(entries: list[str], place: str) -> dict[str, list[str] | str | None]:
    """Read entries; ``place`` says where they stand. Raises ``OptionsError``."""
    table: dict[str, list[str] | str | None] = {}
    for number, entry in enumerate(entries, 1):
        text = entry.strip()
        if not text or text.startswith("#"):
            continue
        hidden = text.startswith("!")
        name, _, answer = text.lstrip("!").partition("=")
        name = name.strip().lower().removesuffix(".")
        answer = answer.strip()
        try:
            if hidden == bool(answer):
                raise ValueError("expected NAME=ANSWER or !NAME")
            dns.Request.make(name.removeprefix("."))
            before = table.get(name)
            if hidden:
                table[name] = None
            elif is_address(answer):
                table[name] = [*(before if isinstance(before, list) else ()), answer]
            else:
                table[name] = dns.Request.make(answer).name
        except ValueError as error:
            raise exceptions.OptionsError(
                f"rewrite_names.py: {place} {number}: {entry!r}: {error}"
            ) from None
    return table


def is_address(text: str) -> bool:
    """Whether a text is an IP address."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def start() -> RewriteNames:
    """Make the addon from the script's arguments."""
    arguments = ctx.args[1:]
    if not arguments:
        raise exceptions.OptionsError("rewrite_names.py: expected NAME=ANSWER, !NAME or @FILE …")
    table = parse([text for text in arguments if text[:1] != "@"], "argument")
    for name in [text[1:] for text in arguments if text[:1] == "@"]:
        try:
            lines = Path(name).read_text("utf-8").splitlines()
        except (OSError, UnicodeError) as error:
            raise exceptions.OptionsError(f"rewrite_names.py: {name}: {error}") from None
        table |= parse(lines, f"{name}, line")
    return RewriteNames(table)
