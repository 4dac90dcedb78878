"""Event streams through the proxy: curl, and the EventSource of a browser."""

from __future__ import annotations

import json
import sys
import zlib
from typing import Any

from twisted.internet.defer import Deferred
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request
from twisted.web.static import Data

from tests.functional.harness import FunctionalTestCase, require
from tests.functional.origins import tree
from tests.functional.test_browser import BROWSE, ONLY_HERE

HOOKS = f"""\
{ONLY_HERE}
def sse_event(flow):
    event = flow.sse.events[-1]
    if event.data == "drop":
        event.drop()
    elif event.event == "add":
        event.data = str(sum(map(int, event.data.split())))
    elif event.data == "last":
        flow.sse.inject("by the proxy", "note", id="9")
"""

PAGE = """\
<!DOCTYPE html>
<meta charset="utf-8">
<title>loading</title>
<body>
<img id="picture" alt="">
<p id="answer"></p>
<script>
  const seen = [];
  const source = new EventSource("events");
  const note = (event) => {
    seen.push(`${event.type} ${event.data} ${event.lastEventId}`);
    if (event.type === "note") {
      source.close();
      document.getElementById("answer").textContent = seen.join("|");
      document.title = "loaded";
    }
  };
  for (const type of ["message", "add", "note"]) source.addEventListener(type, note);
</script>
"""

EVENTS = (
    b": welcome\n\nretry: 60000\n\ndata: one\nid: 1\n\n"
    b"data: drop\n\nevent: add\r\ndata: 2 3\r\n\r\n: ping\n\ndata: last\n\n"
)


class Events(Resource):
    """Sends `EVENTS`, and then waits until the client goes away; compressed if told to."""

    isLeaf = True

    def __init__(self, compressed: bool = False) -> None:
        super().__init__()
        self.compressed = compressed
        self.gone: Deferred[None] = Deferred()

    def render(self, request: Request) -> int:
        request.setHeader(b"content-type", b"text/event-stream")
        if self.compressed:
            request.setHeader(b"content-encoding", b"gzip")
            stream = zlib.compressobj(wbits=31)
            request.write(stream.compress(EVENTS) + stream.flush(zlib.Z_SYNC_FLUSH))
        else:
            request.write(EVENTS)
        request.notifyFinish().addErrback(lambda _: self.gone.callback(None))
        return NOT_DONE_YET


class CurlTests(FunctionalTestCase):
    async def check(self, compressed: bool) -> None:
        events = Events(compressed)
        origin = await self.start_site(tree(events=events))
        proxy = await self.start_proxy(scripts=[self.write("hooks.py", HOOKS)])
        curl = self.start_process(
            require("curl"), "-sSN", "--proxy", proxy.url, f"{origin.url}/events"
        )
        expected = (
            EVENTS.replace(b"data: drop\n\n", b"").replace(b"data: 2 3\r\n", b"data: 5\r\n")
            + b"data: by the proxy\nevent: note\nid: 9\n\n"
        )
        await curl.until(lambda process: len(process.out) >= len(expected))
        self.assertEqual(bytes(curl.out), expected)

    async def test_events_are_changed_dropped_and_added(self):
        await self.check(compressed=False)

    async def test_a_compressed_stream(self):
        await self.check(compressed=True)


class ChromiumTests(FunctionalTestCase):
    timeout = 150

    async def test_event_source(self):
        chromium = require("chromium", "chromium-browser", "google-chrome")
        driver = require("chromedriver")
        site: Any = tree(events=Events(compressed=True))
        site.putChild(b"", Data(PAGE.encode(), "text/html"))
        origin = await self.start_site(site)
        proxy = await self.start_proxy(scripts=[self.write("hooks.py", HOOKS)])
        completed = await self.check_program(
            sys.executable, "-c", BROWSE, chromium, driver, self.directory / "profile",
            proxy.url, f"{origin.url}/", timeout=120,
        )  # fmt: skip
        self.assertEqual(
            json.loads(completed.out)["answer"].split("|"),
            ["message one 1", "add 5 1", "message last 1", "note by the proxy 9"],
        )
