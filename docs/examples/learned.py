"""Shows which hosts pass through because clients refused our certificate, and forgets them."""

from interceptor import ctx, http


def requestheaders(flow):
    request = flow.request
    if request.host != "learned.internal":
        return
    learned = ctx.master.passthrough
    if request.method == "GET":
        lines = [f"{name} {seconds:.0f}s\n" for name, seconds in learned.entries().items()]
        flow.response = http.Response.make(200, "".join(lines), {"Content-Type": "text/plain"})
    elif request.method == "DELETE":
        known = learned.remove(request.path.lstrip("/"))
        flow.response = http.Response.make(204 if known else 404)
    else:
        flow.response = http.Response.make(405, b"", {"Allow": "DELETE, GET"})
