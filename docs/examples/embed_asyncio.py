import asyncio
import signal

from twisted.internet import asyncioreactor

from interceptor.service import InterceptorService, make_options


class Greeting:
    async def response(self, flow):
        await asyncio.sleep(0.01)
        flow.response.headers["X-Greeting"] = "hello"


async def main():
    loop = asyncio.get_running_loop()
    asyncioreactor.install(loop)
    from twisted.internet import reactor

    reactor.startRunning(installSignalHandlers=False)
    options = make_options(mode=["regular@127.0.0.1:0"])
    proxy = InterceptorService(options, reactor=reactor, addons=[Greeting()], announce=print)
    proxy.startService()
    await proxy.started.asFuture(loop)

    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await proxy.stopService().asFuture(loop)


asyncio.run(main())
