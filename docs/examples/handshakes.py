"""Counts what clients and servers speak, and why handshakes fail."""

from collections import Counter

from interceptor import ctx

seen = Counter()
failed = Counter()


def tls_established(conn):
    seen[conn.tls_version, conn.cipher_name, conn.alpn] += 1


def tls_failed(conn):
    error = conn.tls_error
    failed[error.peer, error.code] += 1
    if error.alert is not None:
        who = f"the {error.peer}" if error.received else "we"
        ctx.log.info(f"{conn.sni}: {who} sent the alert {error.alert}")


def done():
    for what, count in (seen + failed).most_common():
        ctx.log.info(f"{count:6} {what}")
