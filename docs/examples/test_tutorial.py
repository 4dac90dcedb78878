from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from interceptor import http
from interceptor.testing import EventRecorder, HookTester, MemoryProxy, make_flow

SCRIPT = str(Path(__file__).resolve().with_name("tutorial.py"))


class TutorialTests(SynchronousTestCase):
    def test_one_hook(self):
        tester = HookTester(SCRIPT)
        self.addCleanup(tester.close)
        flow = make_flow("http://example.test/hello")
        tester.fire("request", flow)
        self.assertEqual(flow.response.text, "Hello from the proxy!\n")

    def test_through_a_proxy(self):
        recorder = EventRecorder()
        proxy = MemoryProxy(SCRIPT, recorder)
        self.addCleanup(proxy.close)
        origin = proxy.origin("example.test").respond(http.Response.make(200, "from afar"))

        answer = proxy.get("http://example.test/other")
        self.assertEqual(answer.text, "from afar")
        self.assertEqual(answer.headers["X-Seen-By"], "interceptor")
        self.assertEqual(origin.requests[0].path, "/other")

        answer = proxy.get("http://example.test/hello")
        self.assertEqual(answer.text, "Hello from the proxy!\n")
        self.assertEqual(len(origin.requests), 1)
        self.assertEqual(recorder.names.count("serverconnect"), 1)
