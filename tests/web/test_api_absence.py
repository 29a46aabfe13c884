"""Tests for what `perfmon.web.api` answers to planned absences."""

from typing import Any

from perfmon.core.control import MAX_ABSENCE, MAX_REASON, Absence, Order
from tests.web.fakes import NOW, Answer, ApiTestCase

PATH = "/api/v1/hosts/web1/absence"


class AbsenceTests(ApiTestCase):
    def plan(self, body: bytes, order: Order | None = None, **host: Any) -> Answer:
        self.backend.asked.clear()
        self.backend.answers |= {"hosts": [{"host": "web1", "state": "up", "kind": "sender", **host}]}
        self.backend.answers["order"] = order or Order()
        return self.post(body, path=PATH)

    def test_planned(self) -> None:
        """For so long, or until a time as a query has them; of any host, and the answer is what is planned now."""
        for body, until, reason in (
            (b'{"for": "2h"}', NOW + 7200, ""),
            (b'{"for": "1d", "reason": "new disks"}', NOW + 86_400, "new disks"),
            (b'{"until": %d}' % (NOW + 60), NOW + 60, ""),
            (b'{"until": "2027-01-15T09:00:00Z", "reason": ""}', 1_800_003_600.0, ""),
        ):
            absence = Absence(until, reason)
            answer = self.plan(body, Order(absence=absence))
            self.assertEqual((answer.status, answer.json["absence"]), (200, {"until": until, "reason": reason}), body)
            self.assertEqual(self.backend.asked[1:], [("order", "web1", "absence", str(absence))])

    def test_bad(self) -> None:
        """What is no absence is refused in a sentence."""
        for body, sentence in (
            (b"{}", 'the body is {"for": "2h"}'),
            (b'{"for": "2h", "until": 1900000000}', 'the body is {"for": "2h"}'),
            (b'{"for": 7200}', 'the body is {"for": "2h"}'),
            (b'{"until": true}', 'the body is {"for": "2h"}'),
            (b'{"until": null}', 'the body is {"for": "2h"}'),
            (b'{"for": "soon"}', "no duration"),
            (b'{"until": "soon"}', "no time"),
            (b'{"until": "now"}', "ends after now"),
            (b'{"until": %d}' % (NOW + MAX_ABSENCE + 1), "within 400 d"),
            (b'{"until": 1e300}', "no time"),
            (b'{"for": "2h", "reason": 7}', f"at most {MAX_REASON} printable"),
            (b'{"for": "2h", "reason": "%b"}' % (b"x" * (MAX_REASON + 1)), f"at most {MAX_REASON} printable"),
            (b'{"for": "2h", "reason": "a\\nb"}', f"at most {MAX_REASON} printable"),
        ):
            self.assert_bad(self.plan(body), sentence)
            self.assertEqual(self.backend.asked, [], body)

    def test_ended(self) -> None:
        """Taken back it is planned no more."""
        self.plan(b'{"for": "2h"}')
        self.backend.asked.clear()
        answer = self.ask(PATH, "DELETE")
        self.assertEqual((answer.status, answer.json), (200, {"host": "web1", "absence": None}))
        self.assertEqual(self.backend.asked[1:], [("order", "web1", "absence", "")])

    def test_unknown(self) -> None:
        """Of a host that nobody knows nothing can be planned."""
        self.backend.answers |= {"hosts": []}
        for answer in (self.post(b'{"for": "2h"}', path=PATH), self.ask(PATH, "DELETE")):
            self.assertEqual(answer.status, 404)
