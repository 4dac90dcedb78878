from interceptor import ctx, http


def request(flow):
    if flow.request.path == "/hello":
        flow.response = http.Response.make(200, "Hello from the proxy!\n")


def response(flow):
    flow.response.headers["X-Seen-By"] = "interceptor"
    ctx.log.info(f"{flow.request.url} got {flow.response.status_code}")
