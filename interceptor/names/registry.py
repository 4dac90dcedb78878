"""Names of DNS types, classes, operations and response codes, and the numbers they stand for."""

from __future__ import annotations

import re
from typing import Final

from twisted.names import dns

_MORE_TYPES: Final = {
    29: "LOC",
    37: "CERT",
    43: "DS",
    46: "RRSIG",
    47: "NSEC",
    48: "DNSKEY",
    50: "NSEC3",
    51: "NSEC3PARAM",
    52: "TLSA",
    53: "SMIMEA",
    59: "CDS",
    60: "CDNSKEY",
    61: "OPENPGPKEY",
    63: "ZONEMD",
    64: "SVCB",
    65: "HTTPS",
    108: "EUI48",
    109: "EUI64",
    255: "ANY",
    256: "URI",
    257: "CAA",
}
"""What `twisted.names` has no name for (the IANA registry of DNS parameters)."""

TYPES: Final[dict[int, str]] = {**dns.QUERY_TYPES, **dns.EXT_QUERIES, **_MORE_TYPES}
CLASSES: Final[dict[int, str]] = {1: "IN", 3: "CH", 4: "HS", 254: "NONE", 255: "ANY"}
OPCODES: Final[dict[int, str]] = {0: "QUERY", 2: "STATUS", 4: "NOTIFY", 5: "UPDATE", 6: "DSO"}
RCODES: Final[dict[int, str]] = {
    0: "NOERROR",
    1: "FORMERR",
    2: "SERVFAIL",
    3: "NXDOMAIN",
    4: "NOTIMP",
    5: "REFUSED",
    6: "YXDOMAIN",
    7: "YXRRSET",
    8: "NXRRSET",
    9: "NOTAUTH",
    10: "NOTZONE",
    16: "BADVERS",
    23: "BADCOOKIE",
}

_NUMBERED: Final = re.compile(r"(TYPE|CLASS|OPCODE|RCODE)(\d{1,5})")


class Names:
    """One registry, both ways. What it has no name for is ``TYPE65280`` or the like (RFC 3597)."""

    def __init__(self, prefix: str, names: dict[int, str], most: int) -> None:
        self._prefix = prefix
        self._names = names
        self._numbers = {name: number for number, name in names.items()}
        self._most = most

    def name(self, number: int) -> str:
        """Return the name of a number."""
        return self._names.get(number) or f"{self._prefix}{number}"

    def number(self, name: str | int) -> int:
        """Return the number of a name, in either case; a number is its own.

        Raises `ValueError`.
        """
        if isinstance(name, int):
            number: int | None = name
        else:
            upper = name.upper()
            number = self._numbers.get(upper)
            numbered = _NUMBERED.fullmatch(upper)
            if number is None and numbered and numbered[1] == self._prefix:
                number = int(numbered[2])
        if number is None or not 0 <= number <= self._most:
            raise ValueError(f"DNS knows no {self._prefix.lower()} {name!r}")
        return number


TYPE: Final = Names("TYPE", TYPES, 65535)
CLASS: Final = Names("CLASS", CLASSES, 65535)
OPCODE: Final = Names("OPCODE", OPCODES, 15)
RCODE: Final = Names("RCODE", RCODES, 4095)
