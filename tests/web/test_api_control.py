"""Tests for what `perfmon.web.api` answers to orders: how a host is to sample."""

from http import HTTPStatus
from typing import Any

from perfmon.core.control import Order
from tests.web.fakes import Answer, ApiTestCase, Away

ORDERS = ("stop", "start", "interval")


class OrderTests(ApiTestCase):
    def order(self, what: str, body: bytes = b'{"interval": 5}', host: str = "web1", **answers: Any) -> Answer:
        self.backend.asked.clear()
        self.backend.answers |= {"hosts": [{"host": host, "state": "up", "kind": "agent"}], **answers}
        return self.post(body, path=f"/api/v1/hosts/{host}/{what}")

    def test_stop(self) -> None:
        """What is ordered is kept, and the answer says what is wanted of the host now."""
        for what, value, stopped in (("stop", "1", True), ("start", "", False)):
            for body in (b"", b"{}"):
                answer = self.order(what, body, order=Order(stopped, 2.5))
                self.assertEqual(answer.json, {"host": "web1", "state": "up", "stopped": stopped, "interval": 2.5})
                self.assertEqual(self.backend.asked, [("hosts", "web1", "-"), ("order", "web1", "stopped", value)])

    def test_interval(self) -> None:
        """An interval is a number of seconds, a duration, or the agent's own."""
        for given, value in (
            (b"5", "5.0"),
            (b"0.1", "0.1"),
            (b'"250ms"', "0.25"),
            (b'"1d"', "86400.0"),
            (b"null", ""),
        ):
            answer = self.order("interval", b'{"interval": %b}' % given)
            self.assertEqual(answer.status, HTTPStatus.OK, given)
            self.assertEqual(self.backend.asked[1:], [("order", "web1", "interval", value)], given)

    def test_bad_interval(self) -> None:
        """What is no interval is refused in a sentence."""
        for body, sentence in (
            (b"", "the body is {"),
            (b"{}", "the body is {"),
            (b'{"interval": true}', "the body is {"),
            (b'{"interval": [5]}', "the body is {"),
            (b'{"interval": 0.05}', "an interval is 0.1 s to 1 d"),
            (b'{"interval": -5}', "an interval is 0.1 s to 1 d"),
            (b'{"interval": 1e300}', "an interval is 0.1 s to 1 d"),
            (b'{"interval": "2d"}', "an interval is 0.1 s to 1 d"),
            (b'{"interval": "soon"}', "no duration"),
            (b"[]", "the body is a JSON object"),
            (b"nonsense", "the body is no JSON"),
        ):
            self.assert_bad(self.order("interval", body), sentence)

    def test_unknown(self) -> None:
        """Of a host that nobody knows nothing is wanted."""
        for what in ORDERS:
            answer = self.order(what, hosts=[])
            self.assert_refused(answer, HTTPStatus.NOT_FOUND, "no host 'web1'; GET /api/v1/hosts lists them")

    def test_no_agent(self) -> None:
        """A host that only others send for is not ours to stop."""
        for what in ORDERS:
            answer = self.order(what, hosts=[{"host": "web1", "state": "up", "kind": "sender"}])
            self.assert_refused(answer, HTTPStatus.CONFLICT, "web1 has no agent")
            self.assertEqual(len(self.backend.asked), 1)

    def test_store_away(self) -> None:
        """An order that cannot be kept is not given."""
        for what in ORDERS:
            answer = self.order(what, order=Away("connection refused"))
            self.assert_refused(answer, HTTPStatus.SERVICE_UNAVAILABLE, "the store cannot be used: connection refused")

    def test_forms(self) -> None:
        """A page of another site can post forms here; they order nothing."""
        for what in ORDERS:
            for kind in ("", "text/plain", "application/x-www-form-urlencoded"):
                answer = self.post(b'{"interval": 5}', kind, f"/api/v1/hosts/web1/{what}")
                self.assert_refused(answer, HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "application/json")
        self.assertEqual(self.backend.asked, [])
