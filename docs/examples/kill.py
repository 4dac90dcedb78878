from interceptor import ctx


def responseheaders(flow):
    if int(flow.response.headers.get("Content-Length", 0)) > 10_000_000:
        flow.kill()


def error(flow):
    ctx.log.warn(f"{flow.request.url} failed: {flow.error.code}: {flow.error.msg}")
