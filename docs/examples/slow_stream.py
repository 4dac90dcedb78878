from twisted.internet import reactor
from twisted.internet.task import deferLater


async def slowly(chunk):
    await deferLater(reactor, 0.1)
    return chunk


def responseheaders(flow):
    flow.response.stream = slowly
