"""Sends a word to every browser that has a WebSocket open: one a minute, and on demand."""

from twisted.internet import task

from interceptor import ctx

open_flows = set()


def websocket_start(flow):
    open_flows.add(flow)


def websocket_end(flow):
    open_flows.discard(flow)
    ctx.log.info(f"{flow.request.pretty_url} closed: {flow.websocket.close_code}")


def push(text):
    for flow in open_flows:
        flow.websocket.inject(True, text)


minutely = task.LoopingCall(push, "a minute has passed")


def running():
    minutely.start(60, now=False)


def done():
    if minutely.running:
        minutely.stop()
