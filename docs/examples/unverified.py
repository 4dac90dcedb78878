"""Marks every flow whose server was not verified, and says why."""

from interceptor import ctx


def response(flow):
    reason = flow.server_conn.ssl_verification_error
    if reason is not None:
        flow.marked = "unverified"
        ctx.log.warn(f"{flow.request.pretty_url}: {reason}")
