from twisted.internet.defer import DeferredSemaphore

places = DeferredSemaphore(2)


async def requestheaders(flow):
    """Let no more than two requests be under way, whoever sends them."""
    await places.acquire()
    flow.metadata["place"] = True


def response(flow):
    if flow.metadata.pop("place", False):
        places.release()


error = response
