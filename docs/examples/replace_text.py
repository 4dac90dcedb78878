def response(flow):
    if "text/" in flow.response.headers.get("Content-Type", ""):
        flow.response.text = flow.response.text.replace("colour", "color")
