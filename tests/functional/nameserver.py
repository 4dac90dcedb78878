"""A name server, as a program, that is of no use, but for one name.

The arguments are the address to listen on, and the address that ``good.test`` has. What is asked
for says what is answered: ``silent`` nothing, ``servfail`` that code, ``garbage`` bytes without a
meaning, ``refused`` that code, ``empty`` an answer without records. It prints ``ready``, and each
name that was asked for.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path

HEADER = 12
FLAGS = {b"servfail": 0x8182, b"refused": 0x8185}
"""A response, recursion available, and the code."""


def answer(question: bytes, address: str) -> bytes | None:
    """Return the answer to a question of one name."""
    first = question[HEADER + 1 : HEADER + 1 + question[HEADER]]
    end = question.index(b"\0", HEADER) + 5
    print(first.decode(), flush=True)
    if first == b"silent":
        return None
    if first == b"garbage":
        return b"\xff" * 40
    asked = question[HEADER:end]
    is_address = asked[-4:-2] == b"\0\x01"
    found = first == b"good" and is_address
    flags = FLAGS.get(first, 0x8180).to_bytes(2, "big")
    counts = b"\0\x01" + (b"\0\x01" if found else b"\0\0") + bytes(4)
    record = b"\xc0\x0c\0\x01\0\x01\0\0\0\0\0\x04" + socket.inet_aton(address) if found else b""
    return question[:2] + flags + counts + asked + record


def main(listen: str, address: str) -> None:
    """Answer until killed."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((listen, 53))
        print("ready", flush=True)
        while True:
            question, client = server.recvfrom(4096)
            data = answer(question, address)
            if data is not None:
                server.sendto(data, client)


def resolver_file(directory: Path, server: str) -> Path:
    """Write what leads the C library to such a server."""
    path = directory / "resolv.conf"
    path.write_text(f"nameserver {server}\noptions timeout:1 attempts:1\n")
    return path


if __name__ == "__main__":
    main(*sys.argv[1:])
