"""ClientHellos: recorded from OpenSSL in memory, and made to measure."""

from __future__ import annotations

import ssl
import struct
from collections.abc import Sequence
from typing import Any

from OpenSSL import SSL


def by_pyopenssl(
    *,
    sni: bytes | None = b"example.com",
    alpn: Sequence[bytes] = (),
    low: int = SSL.TLS1_2_VERSION,
    high: int = SSL.TLS1_3_VERSION,
    ciphers: bytes | None = None,
) -> bytes:
    """The first flight of a client that uses the OpenSSL of pyOpenSSL."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(low)
    context.set_max_proto_version(high)
    if ciphers is not None:
        context.set_cipher_list(ciphers)
    connection = SSL.Connection(context, None)
    if sni is not None:
        connection.set_tlsext_host_name(sni)
    if alpn:
        connection.set_alpn_protos(list(alpn))
    connection.set_connect_state()
    try:
        connection.do_handshake()
    except SSL.WantReadError:
        pass
    return connection.bio_read(65536)


def by_ssl(
    *, sni: str | None = "example.com", alpn: Sequence[str] = (), ciphers: str | None = None
) -> bytes:
    """The first flight of a client that uses the OpenSSL of Python itself."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if ciphers is not None:
        context.set_ciphers(ciphers)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    link = context.wrap_bio(incoming, outgoing, server_hostname=sni)
    try:
        link.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


def vector(data: bytes, width: int = 2) -> bytes:
    """A vector of TLS: its length in ``width`` bytes, then the bytes."""
    return len(data).to_bytes(width, "big") + data


def numbers(*values: int) -> bytes:
    """16-bit numbers behind one another."""
    return struct.pack(f">{len(values)}H", *values)


def extension(number: int, content: bytes = b"") -> bytes:
    return numbers(number) + vector(content)


def server_name(*names: bytes, kind: int = 0) -> bytes:
    return extension(0, vector(b"".join(bytes((kind,)) + vector(name) for name in names)))


def body(
    *extensions: bytes,
    version: int = 0x0303,
    suites: bytes = numbers(0xC02B, 0xC02F),
    session_id: bytes = b"",
    compression: bytes = b"\0",
    after: bytes = b"",
) -> bytes:
    """A ClientHello without any header; no extension at all leaves their block out."""
    block = vector(b"".join(extensions)) if extensions else b""
    return (
        numbers(version)
        + bytes(range(32))
        + vector(session_id, 1)
        + vector(suites)
        + vector(compression, 1)
        + block
        + after
    )


def message(content: bytes, kind: int = 1) -> bytes:
    """A message of the handshake."""
    return bytes((kind,)) + vector(content, 3)


def record(content: bytes, kind: int = 22, version: int = 0x0301) -> bytes:
    return bytes((kind,)) + numbers(version) + vector(content)


def hello(*extensions: bytes, **fields: Any) -> bytes:
    """A ClientHello in one record."""
    return record(message(body(*extensions, **fields)))


def in_records(flight: bytes, size: int) -> bytes:
    """The same handshake messages in records of ``size`` bytes each."""
    content, at = b"", 0
    while at < len(flight):
        length = int.from_bytes(flight[at + 3 : at + 5], "big")
        content += flight[at + 5 : at + 5 + length]
        at += 5 + length
    return b"".join(record(content[i : i + size]) for i in range(0, len(content), size))
