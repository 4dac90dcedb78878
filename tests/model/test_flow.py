"""Tests of `interceptor.model.flow`."""

from __future__ import annotations

from typing import Any, ClassVar

from twisted.trial.unittest import SynchronousTestCase

from interceptor.model.connections import ClientConnection, ServerConnection
from interceptor.model.flow import Error, HTTPFlow
from interceptor.model.http import Request, Response


class RecordingControl:
    """A `FlowControl` that writes down what it is told."""

    def __init__(self) -> None:
        self.log: list[tuple[str, Any]] = []

    def killed(self, flow: Any) -> None:
        self.log.append(("killed", flow.error))

    def intercepted(self, flow: Any) -> None:
        self.log.append(("intercepted", flow.intercepted))

    def resumed(self, flow: Any) -> None:
        self.log.append(("resumed", flow.intercepted))


def make_flow(control: RecordingControl | None = None) -> HTTPFlow:
    flow = HTTPFlow(
        ClientConnection(("127.0.0.1", 5000), ("127.0.0.1", 8080), 1.0),
        ServerConnection(("example.com", 80)),
        "regular",
        control,
    )
    flow.request = Request.make("POST", "http://example.com/a", b"question")
    return flow


class HTTPFlowTests(SynchronousTestCase):
    def test_new_flow(self) -> None:
        flow = make_flow()
        self.assertEqual("http", flow.type)
        self.assertEqual("regular", flow.mode)
        self.assertIsNone(flow.response)
        self.assertIsNone(flow.error)
        self.assertIsNone(flow.websocket)
        self.assertFalse(flow.live or flow.intercepted or flow.killed or flow.marked)
        self.assertFalse(hasattr(flow, "__dict__"))

    def test_ids_are_lazy_stable_and_unique(self) -> None:
        one, other = make_flow(), make_flow()
        self.assertEqual(one.id, one.id)
        self.assertNotEqual(one.id, other.id)
        self.assertEqual(36, len(one.id))

    def test_metadata(self) -> None:
        flow = make_flow()
        flow.metadata["a"] = 1
        self.assertEqual({"a": 1}, flow.metadata)
        flow.metadata = {"b": 2}
        self.assertEqual({"b": 2}, flow.metadata)

    def test_requestheaders_are_the_headers_of_the_request(self) -> None:
        flow = make_flow()
        self.assertIs(flow.request.headers, flow.requestheaders)

    def test_replace(self) -> None:
        flow = make_flow()
        flow.response = Response.make(200, b"question")
        self.assertEqual(2, flow.replace("question", "answer"))
        self.assertEqual(b"answer", flow.response.content)
        flow.response = None
        self.assertEqual(1, flow.replace("answer", "question"))

    def test_repr(self) -> None:
        flow = make_flow()
        self.assertEqual("<HTTPFlow POST http://example.com/a>", repr(flow))
        flow.response = Response.make(404)
        flow.error = Error("gone", 1.0, "body-truncated")
        self.assertEqual("<HTTPFlow POST http://example.com/a -> 404 (body-truncated)>", repr(flow))
        empty = HTTPFlow(flow.client_conn, flow.server_conn)
        self.assertEqual("<HTTPFlow no request>", repr(empty))


class SteeringTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.control = RecordingControl()
        self.flow = make_flow(self.control)

    def test_kill(self) -> None:
        self.assertTrue(self.flow.killable)
        self.flow.kill()
        self.flow.kill()
        self.assertTrue(self.flow.killed)
        assert self.flow.error is not None
        self.assertEqual("flow killed by a script", self.flow.error.msg)
        self.assertEqual("killed", self.flow.error.code)
        self.assertGreater(self.flow.error.timestamp, 1e9)
        self.assertEqual([("killed", self.flow.error)], self.control.log)
        self.assertFalse(self.flow.killable)

    def test_kill_keeps_an_earlier_error(self) -> None:
        error = self.flow.error = Error("broken")
        self.flow.kill()
        self.assertIs(error, self.flow.error)
        self.assertEqual([("killed", error)], self.control.log)

    def test_kill_does_nothing_to_a_record(self) -> None:
        self.flow.detach()
        self.flow.kill()
        self.assertFalse(self.flow.live)
        self.assertFalse(self.flow.killed)
        self.assertIsNone(self.flow.error)
        self.assertEqual([], self.control.log)

    def test_intercept_and_resume_tell_once(self) -> None:
        self.flow.resume()
        self.flow.intercept()
        self.flow.intercept()
        self.assertTrue(self.flow.intercepted)
        self.flow.resume()
        self.flow.resume()
        self.assertFalse(self.flow.intercepted)
        self.assertEqual([("intercepted", True), ("resumed", False)], self.control.log)

    def test_kill_ends_an_interception(self) -> None:
        self.flow.intercept()
        self.flow.kill()
        self.flow.resume()
        self.flow.intercept()
        self.assertFalse(self.flow.intercepted)
        self.assertEqual(["intercepted", "killed"], [name for name, _ in self.control.log])

    def test_a_record_can_be_marked_as_intercepted(self) -> None:
        flow = make_flow()
        flow.intercept()
        self.assertTrue(flow.intercepted)
        flow.resume()
        self.assertFalse(flow.intercepted)


class StateTests(SynchronousTestCase):
    def test_copy(self) -> None:
        flow = make_flow(RecordingControl())
        flow.response = Response.make(200, b"answer")
        flow.error = Error("broken", 2.0)
        flow.metadata["a"] = 1
        flow.comment = "look"
        copied = flow.copy()
        self.assertNotEqual(flow.id, copied.id)
        self.assertFalse(copied.live)
        self.assertEqual(flow.error, copied.error)
        self.assertEqual(flow.client_conn.id, copied.client_conn.id)
        self.assertEqual("look", copied.comment)
        self.assertEqual(flow.timestamp_created, copied.timestamp_created)
        assert copied.response is not None
        copied.response.content = b"other"
        copied.request.headers["x"] = "y"
        copied.metadata["a"] = 2
        copied.server_conn.address = None
        self.assertEqual(b"answer", flow.response.content)
        self.assertNotIn("x", flow.request.headers)
        self.assertEqual({"a": 1}, flow.metadata)
        self.assertEqual(("example.com", 80), flow.server_conn.address)

    def test_copy_of_a_flow_without_request(self) -> None:
        flow = make_flow()
        self.assertIsNone(HTTPFlow(flow.client_conn, flow.server_conn).copy().request)

    def test_modified_and_revert(self) -> None:
        def edit_request(flow: HTTPFlow) -> None:
            flow.request.path = "/other"

        def edit_headers(flow: HTTPFlow) -> None:
            flow.request.headers["x"] = "y"

        def edit_body(flow: HTTPFlow) -> None:
            flow.request.text = "other"

        def answer(flow: HTTPFlow) -> None:
            flow.response = Response.make()

        def mark(flow: HTTPFlow) -> None:
            flow.marked = True

        def comment(flow: HTTPFlow) -> None:
            flow.comment = "x"

        def fail(flow: HTTPFlow) -> None:
            flow.error = Error("x")

        def note(flow: HTTPFlow) -> None:
            flow.metadata["x"] = 1

        for edit in (edit_request, edit_headers, edit_body, answer, mark, comment, fail, note):
            flow = make_flow()
            self.assertFalse(flow.modified())
            flow.backup()
            self.assertFalse(flow.modified(), edit)
            edit(flow)
            self.assertTrue(flow.modified(), edit)
            flow.revert()
            self.assertFalse(flow.modified(), edit)
            self.assertEqual("/a", flow.request.path)
            self.assertEqual(b"question", flow.request.content)
            self.assertNotIn("x", flow.request.headers)
            self.assertIsNone(flow.response)
            self.assertEqual("", flow.comment)

    def test_asking_for_metadata_is_no_modification(self) -> None:
        flow = make_flow()
        flow.backup()
        self.assertEqual({}, flow.metadata)
        self.assertFalse(flow.modified())

    def test_the_first_backup_counts_unless_forced(self) -> None:
        flow = make_flow()
        flow.backup()
        flow.comment = "one"
        flow.backup()
        self.assertTrue(flow.modified())
        flow.backup(force=True)
        self.assertFalse(flow.modified())
        flow.comment = "two"
        flow.revert()
        self.assertEqual("one", flow.comment)

    def test_revert_without_backup_does_nothing(self) -> None:
        flow = make_flow()
        flow.comment = "x"
        flow.revert()
        self.assertEqual("x", flow.comment)

    def test_containers_in_metadata_are_copied_and_objects_shared(self) -> None:
        flow = make_flow()
        shared = object()
        loop: list[Any] = [1]
        loop.append(loop)
        flow.metadata.update(a={"b": [1, {2}]}, c=shared, loop=loop)
        flow.metadata["again"] = flow.metadata["a"]
        copied = flow.copy()
        flow.metadata["a"]["b"][1].add(3)
        self.assertEqual({"b": [1, {2}]}, copied.metadata["a"])
        self.assertIs(copied.metadata["a"], copied.metadata["again"])
        self.assertIs(shared, copied.metadata["c"])
        self.assertIs(copied.metadata["loop"], copied.metadata["loop"][1])


class ContractTests(SynchronousTestCase):
    """The names that scripts for the API of 2016 rely on."""

    NAMES: ClassVar[dict[str, str]] = {
        "flow": "id type client_conn server_conn request response error metadata marked "
        "intercepted live mode copy backup revert modified kill intercept resume replace "
        "requestheaders comment",
        "message": "headers http_version raw_content body content text content_error get_content "
        "get_text set_text decode encode replace trailers timestamp_start timestamp_end stream",
        "request": "method scheme host port path query cookies path_components urlencoded_form "
        "multipart_form url pretty_host pretty_url first_line_format anticache anticomp "
        "constrain_encoding make",
        "response": "status_code reason cookies refresh make",
        "headers": "fields get_all set_all add insert items keys values copy get pop update "
        "setdefault clear",
    }

    def test_names(self) -> None:
        flow = make_flow()
        flow.response = Response.make()
        objects: dict[str, list[object]] = {
            "flow": [flow],
            "message": [flow.request, flow.response],
            "request": [flow.request],
            "response": [flow.response],
            "headers": [flow.request.headers],
        }
        for kind, names in self.NAMES.items():
            for name in names.split():
                for found in objects[kind]:
                    self.assertTrue(hasattr(found, name), f"{kind}: {name}")


class ErrorTests(SynchronousTestCase):
    def test_error(self) -> None:
        error = Error("broken", 5.0, "code")
        self.assertEqual(("broken", 5.0, "code"), (error.msg, error.timestamp, error.code))
        self.assertEqual("broken", str(error))
        self.assertEqual("<Error code: broken>", repr(error))
        self.assertEqual("<Error no-code: broken>", repr(Error("broken")))

    def test_equality(self) -> None:
        error = Error("broken", 5.0)
        self.assertEqual(error, error.copy())
        self.assertEqual(hash(error), hash(error.copy()))
        self.assertNotEqual(error, Error("broken", 6.0))
        self.assertNotEqual(error, "broken")
