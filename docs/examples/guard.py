from interceptor import http

error_policy = "kill"

ALLOWED = {"example.test", "api.example.test"}


def requestheaders(flow):
    if flow.request.host not in ALLOWED:
        flow.response = http.Response.make(403, "not through this proxy\n")


http_connect = requestheaders
