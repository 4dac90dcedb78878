"""HTTP messages and flows, for scripts: ``from interceptor import http``."""

from __future__ import annotations

from interceptor.model.flow import Error, HTTPFlow
from interceptor.model.headers import Headers
from interceptor.model.http import HTTPRequest, HTTPResponse, Request, Response

__all__ = ["Error", "HTTPFlow", "HTTPRequest", "HTTPResponse", "Headers", "Request", "Response"]
