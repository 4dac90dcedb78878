"""A client of TLS 1.3 that changes its keys again and again, as no library lets one do.

The handshake is the library's; what comes then is made with the secret that its key log tells.
"""

from __future__ import annotations

import ssl
import struct
from pathlib import Path
from typing import Protocol

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, HashAlgorithm
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

_CIPHERS: dict[str, tuple[type[AESGCM] | type[ChaCha20Poly1305], int, type[HashAlgorithm]]] = {
    "TLS_AES_128_GCM_SHA256": (AESGCM, 16, SHA256),
    "TLS_AES_256_GCM_SHA384": (AESGCM, 32, SHA384),
    "TLS_CHACHA20_POLY1305_SHA256": (ChaCha20Poly1305, 32, SHA256),
}
_KEY_UPDATE = b"\x18\0\0\x01\x01\x16"
"""KeyUpdate with update_requested, as the content of a record (RFC 8446 section 4.6.3)."""


class Wire(Protocol):
    """A connection, such as a socket."""

    def sendall(self, data: bytes, /) -> object: ...

    def recv(self, size: int, /) -> bytes: ...


class KeyUpdates:
    """Makes records of a client whose handshake is over and that has sent nothing since."""

    def __init__(self, client: Wire, name: str, log: Path) -> None:
        """Speak TLS with ``name`` over a connection; ``log`` is a file for the secrets."""
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.keylog_filename = str(log)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        connection = context.wrap_bio(incoming, outgoing, server_hostname=name)
        while True:
            try:
                connection.do_handshake()
            except ssl.SSLWantReadError:
                client.sendall(outgoing.read())
                data = client.recv(65536)
                if not data:
                    raise ConnectionError("there was no handshake") from None
                incoming.write(data)
            else:
                break
        client.sendall(outgoing.read())
        cipher = connection.cipher()
        assert cipher is not None
        self._aead, self._key_size, self._hash = _CIPHERS[cipher[0]]
        [line] = [
            line for line in log.read_text().splitlines() if "CLIENT_TRAFFIC_SECRET_0" in line
        ]
        self._secret = bytes.fromhex(line.split()[2])

    def _derived(self, label: bytes, size: int) -> bytes:
        """HKDF-Expand-Label (RFC 8446 section 7.1)."""
        full = b"tls13 " + label
        info = struct.pack(">HB", size, len(full)) + full + b"\0"
        return HKDFExpand(self._hash(), size, info).derive(self._secret)

    def next(self) -> bytes:
        """Return the record that says that the next one has another key."""
        head = b"\x17\x03\x03" + struct.pack(">H", len(_KEY_UPDATE) + 16)
        nonce = self._derived(b"iv", 12)
        key = self._derived(b"key", self._key_size)
        record = head + self._aead(key).encrypt(nonce, _KEY_UPDATE, head)
        self._secret = self._derived(b"traffic upd", self._hash().digest_size)
        return record
