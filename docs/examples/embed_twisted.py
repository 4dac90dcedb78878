from twisted.internet.defer import Deferred
from twisted.internet.task import react

from interceptor.service import InterceptorService, make_options


class Greeting:
    def response(self, flow):
        flow.response.headers["X-Greeting"] = "hello"


async def main(reactor):
    options = make_options(mode=["regular@127.0.0.1:0"])
    proxy = InterceptorService(options, reactor=reactor, addons=[Greeting()], announce=print)
    reactor.addSystemEventTrigger("before", "shutdown", proxy.stopService)
    proxy.startService()
    await proxy.started
    await Deferred()  # until SIGINT or SIGTERM


react(main)
