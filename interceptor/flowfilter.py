"""Filter expressions, for scripts: ``from interceptor import flowfilter``."""

from __future__ import annotations

from interceptor.errors import FilterError
from interceptor.filters.expression import Filter, match, parse

__all__ = ["Filter", "FilterError", "match", "parse"]
