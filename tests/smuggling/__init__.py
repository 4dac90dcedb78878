"""Messages that two parties may take for different ones, sent through whole proxies."""

from __future__ import annotations
