def requestheaders(flow):
    if flow.request.host == "www.example.test":
        flow.request.host = "staging.example.test"
        flow.request.port = 8000


http_connect = requestheaders
