"""What hooks for SMTP make use of: ``from interceptor import smtp``."""

from __future__ import annotations

from interceptor.addons.smtp import SMTPLayer
from interceptor.wire.smtp import Command, Mail, Reply, SMTPCodec

__all__ = ["Command", "Mail", "Reply", "SMTPCodec", "SMTPLayer"]
