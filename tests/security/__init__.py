"""What attackers must not be able to do, on live exchanges."""

from __future__ import annotations
