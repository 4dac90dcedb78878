import json

from interceptor import ctx


def sse_event(flow):
    event = flow.sse.events[-1]
    if event.event == "ping":
        event.drop()
    elif "secret" in event.data:
        event.data = event.data.replace("secret", "******")
    elif event.data == "[DONE]":
        flow.sse.inject(json.dumps({"note": "checked by the proxy"}), "note")


def response(flow):
    if flow.sse:
        ctx.log.info(f"{flow.sse.forgotten + len(flow.sse.events)} events")
