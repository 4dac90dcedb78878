"""The page that helps people to trust the authority, as HTML that any phone can show."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html import escape
from typing import Final

from interceptor.model.http import Response
from interceptor.net.authority import CERTIFICATE_NAME, Authority, common_name
from interceptor.trusthelp import GUIDES, Files, Guide, Step

_STYLE: Final = """
:root { color-scheme: light dark; --line: #8886; --soft: #8882; --link: #0b57d0 }
@media (prefers-color-scheme: dark) { :root { --link: #8ab4f8 } }
* { box-sizing: border-box }
body { font: 1rem/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 44rem; padding: 1rem }
h1 { font-size: 1.5rem; line-height: 1.2 }
h2 { font-size: 1.2rem; margin-top: 2rem }
a { color: var(--link) }
code, pre { font: .9em/1.5 ui-monospace, monospace; overflow-wrap: anywhere }
pre { background: var(--soft); border-radius: .4rem; padding: .6rem; white-space: pre-wrap }
.files { display: flex; flex-wrap: wrap; gap: .6rem; list-style: none; padding: 0 }
.files a { border: 1px solid; border-radius: .4rem; display: block; padding: .6rem 1rem;
  text-decoration: none }
dt { font-weight: bold }
dd { margin: 0 0 .6rem }
details { border-top: 1px solid var(--line) }
summary { cursor: pointer; font-weight: bold; padding: .7rem 0 }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px }
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

_FIELDS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

DOWNLOADS: Final = {
    "/ca.pem": ("PEM", "most programs and systems", "application/pem-certificate-chain"),
    "/ca.cer": ("DER (.cer)", "Android, iOS, Windows", "application/x-x509-ca-cert"),
    "/ca.p12": ("PKCS #12", "Java", "application/x-pkcs12"),
}
"""By path: the format, who takes it, the media type."""

_KINDS = (("device", "Phones and tablets"), ("system", "Computers"), ("program", "Programs"))

# What the User-Agent field of a browser has where a guide is likely to be the one that is wanted.
_AGENTS = (
    ("android", re.compile(r"Android")),
    ("ios", re.compile(r"iPhone|iPad|iPod")),
    ("windows", re.compile(r"Windows NT")),
    ("macos", re.compile(r"Macintosh")),
    ("firefox", re.compile(r"Firefox/")),
)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the page tells of the authority and of the proxy.

    ``proxy`` is the address at which the client reached it; None where it is no proxy to its
    clients. ``expires`` is a date.
    """

    name: str
    fingerprint: str
    expires: str
    proxy: tuple[str, int] | None


def front(authority: Authority, proxy: tuple[str, int] | None, user_agent: str) -> Response:
    """Answer with the page about ``authority``; the other arguments as for `render_page`."""
    certificate = authority.anchor
    facts = Facts(
        common_name(certificate) or certificate.subject.rfc4514_string(),
        authority.fingerprint(),
        f"{certificate.not_valid_after_utc:%Y-%m-%d}",
        proxy,
    )
    return _html(200, render_page(facts, user_agent))


def notice(status: int, title: str, text: str) -> Response:
    """Answer with a page that says one thing."""
    return _html(status, render_notice(title, text))


def download(path: str, authority: Authority) -> Response:
    """Answer with the certificate, in the format of one of the paths in `DOWNLOADS`."""
    form = path.rpartition(".")[2]
    content = {"pem": authority.pem, "cer": authority.der, "p12": authority.p12}[form]
    fields = {
        **_FIELDS,
        "Content-Type": DOWNLOADS[path][2],
        "Content-Disposition": f'attachment; filename="{CERTIFICATE_NAME}.{form}"',
    }
    return Response.make(200, content, fields)


def _html(status: int, text: str) -> Response:
    fields = {**_FIELDS, "Content-Type": "text/html; charset=utf-8"}
    return Response.make(status, text.encode("utf-8", "replace"), fields)


def render_page(facts: Facts, user_agent: str = "") -> str:
    """Give the page; the guides that the browser's ``user_agent`` suggests are unfolded."""
    wanted = {key for key, pattern in _AGENTS if pattern.search(user_agent)}
    files = Files(name="".join(c for c in facts.name if c.isalnum() or c in " -_."))
    return _document("Trust interceptor", _sections(facts, files, wanted))


def render_notice(title: str, text: str) -> str:
    """Give a page that says one thing, and leads to the other page."""
    body = (f"<h1>{escape(title)}</h1>", f"<p>{escape(text)}</p>", '<p><a href="/">Start</a></p>')
    return _document(title, body)


def _document(title: str, body: Iterable[str]) -> str:
    lines = (
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title>",
        f"<style>{_STYLE}</style>",
        "</head>",
        "<body>",
        "<main>",
        *body,
        "</main>",
        "</body>",
        "</html>",
    )
    return "\n".join(lines) + "\n"


def _sections(facts: Facts, files: Files, wanted: set[str]) -> Iterator[str]:
    yield "<h1>Trust interceptor</h1>"
    yield (
        "<p>The proxy shows certificates that an authority of its own has signed. Whoever trusts "
        "that authority lets this proxy read and change what is sent over HTTPS: do it on devices "
        "that are yours, and undo it when you are done.</p>"
    )
    yield '<h2 id="certificate">The certificate</h2>'
    yield '<ul class="files">'
    for path, (form, use, _) in DOWNLOADS.items():
        yield f'<li><a href="{path}" download><b>{form}</b><br>{use}</a></li>'
    yield "</ul>"
    yield "<dl>"
    yield f"<dt>Name</dt><dd>{escape(facts.name)}</dd>"
    yield f"<dt>SHA-256 fingerprint</dt><dd><code>{_breakable(facts.fingerprint)}</code></dd>"
    yield f"<dt>Valid until</dt><dd>{escape(facts.expires)}</dd>"
    yield "</dl>"
    yield (
        "<p>This page came over HTTP, so that someone on the way could have changed it: compare "
        "the fingerprint with what <code>interceptor ca show</code> prints on the machine with "
        "the proxy.</p>"
    )
    if facts.proxy is not None:
        host, port = facts.proxy
        yield '<h2 id="proxy">The proxy</h2>'
        yield "<dl>"
        yield f"<dt>Host</dt><dd><code>{escape(host)}</code></dd>"
        yield f"<dt>Port</dt><dd><code>{port}</code></dd>"
        yield "</dl>"
        yield (
            "<p>Set it as the HTTP and HTTPS proxy: on phones in the details of the Wi-Fi network "
            "(proxy: manual), for programs by the variables <code>HTTP_PROXY</code> and "
            "<code>HTTPS_PROXY</code>. <code>interceptor run -- COMMAND</code> starts a command "
            "with everything set.</p>"
        )
    for kind, title in _KINDS:
        yield f'<h2 id="{kind}">{title}</h2>'
        for guide in GUIDES:
            if guide.kind == kind:
                yield from _guide(guide, files, guide.key in wanted)


def _guide(guide: Guide, files: Files, unfolded: bool) -> Iterator[str]:
    yield f'<details id="{guide.key}"{" open" if unfolded else ""}>'
    yield f"<summary>{escape(guide.title)}</summary>"
    yield f'<p>Download <a href="/ca.{guide.file}" download>{getattr(files, guide.file)}</a>.</p>'
    yield from _steps(guide.install, files)
    if guide.remove:
        yield "<p>To undo it:</p>"
        yield from _steps(guide.remove, files)
    yield "</details>"


def _steps(steps: Iterable[Step], files: Files) -> Iterator[str]:
    yield "<ol>"
    for step in steps:
        commands = "\n".join(escape(files.fill(command)) for command in step.commands)
        shown = f"<pre><code>{commands}</code></pre>" if commands else ""
        yield f"<li>{escape(files.fill(step.text))}{shown}</li>"
    yield "</ol>"


def _breakable(fingerprint: str) -> str:
    return escape(fingerprint).replace(":", ":<wbr>")
