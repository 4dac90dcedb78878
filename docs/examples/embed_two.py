from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import react

from interceptor import ctx
from interceptor.service import InterceptorService


class Label:
    def load(self, loader):
        loader.add_option("label", str, "", "What the field X-Label says.")

    def response(self, flow):
        flow.response.headers["X-Label"] = ctx.options.label


async def main(reactor):
    proxies = [InterceptorService(reactor=reactor, addons=[Label()], announce=print) for _ in "ab"]
    for proxy, label in zip(proxies, ("first", "second"), strict=True):
        proxy.options.update(mode=["regular@127.0.0.1:0"])
        proxy.options.set(f"label={label}", defer=True)
        reactor.addSystemEventTrigger("before", "shutdown", proxy.stopService)
        proxy.startService()
    await DeferredList([proxy.started for proxy in proxies], fireOnOneErrback=True)
    await Deferred()


react(main)
