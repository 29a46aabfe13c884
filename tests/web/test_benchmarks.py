"""Tests for `perfmon.web.benchmarks`."""

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import orjson

from perfmon.core.benchmarks import QUEUED, Spec
from perfmon.core.loads import BadLoad
from tests.web.fakes import NOW, Answer, ApiTestCase, Away, Occupied, described

PATH = "/api/v1/benchmarks"


class BeginTests(ApiTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.backend.answers["hosts"] = [
            described("web1", kind="agent", labels={"role": "web"}),
            described("web2", kind="agent", state="late", labels={"role": "db"}),
            described("web3", kind="agent", state="departed", labels={"role": "web"}),
            described("mail1", kind="sender", labels={"role": "web"}),
        ]

    def begin(self, **body: Any) -> Answer:
        return self.post(orjson.dumps(body), path=PATH)

    def test_hosts(self) -> None:
        """Of those that match, the hosts with an agent that is there."""
        for body, hosts in (
            ({"hosts": "*"}, ["web1", "web2"]),
            ({"label": "role=web"}, ["web1"]),
            ({"hosts": "w*", "label": "role=db"}, ["web2"]),
        ):
            answer = self.begin(kind="cpu", parameters={"seconds": 5}, **body)
            self.assertEqual(answer.status, HTTPStatus.OK, answer.body)
            self.assertEqual(self.backend.asked.pop(), ("begin_benchmark", "cpu", {"seconds": 5}, hosts, 3.0, False))
        self.begin(kind="cpu", hosts="*", lead=0.5, busy="queue")
        self.assertEqual(self.backend.asked.pop()[-2:], (0.5, True))
        none = self.begin(kind="cpu", label="role=cache")
        self.assert_refused(none, HTTPStatus.NOT_FOUND, "no host with an agent")

    def test_bad(self) -> None:
        """What cannot be asked is refused in a sentence that says how to."""
        for body, words in (
            ({"kind": "cpu"}, '"hosts"'),
            ({"hosts": "*"}, "kind is needed"),
            ({"kind": 7, "hosts": "*"}, "kind is needed"),
            ({"kind": "cpu", "hosts": 7}, '"hosts"'),
            ({"kind": "cpu", "hosts": "x" * 2_000}, "pattern over"),
            ({"kind": "cpu", "label": "web"}, "NAME=VALUE"),
            ({"kind": "cpu", "hosts": "*", "lead": "3s"}, "lead is a number"),
            ({"kind": "cpu", "hosts": "*", "lead": -1}, "lead is a number"),
            ({"kind": "cpu", "hosts": "*", "lead": True}, "lead is a number"),
            ({"kind": "cpu", "hosts": "*", "lead": 1e9}, "lead is a number"),
            ({"kind": "cpu", "hosts": "*", "command": "rm"}, "'command' is unknown"),
            ({"kind": "cpu", "hosts": "*", "busy": "kill"}, "refuse or queue"),
            ({"kind": "cpu", "hosts": "*", "start": "soon"}, "start: 'soon' is no time"),
            ({"kind": "cpu", "hosts": "*", "start": NOW - 1}, "start is a time from now on"),
            ({"kind": "cpu", "hosts": "*", "start": NOW + 1e6}, "start is a time from now on"),
            ({"kind": "cpu", "hosts": "*", "start": NOW + 5, "lead": 5}, "not both"),
        ):
            self.assert_refused(self.begin(**body), HTTPStatus.BAD_REQUEST, words)
        self.assertEqual([asked for asked in self.backend.asked if asked[0] == "begin_benchmark"], [])
        self.assertEqual(self.post(b"{}", "text/plain", PATH).status, HTTPStatus.UNSUPPORTED_MEDIA_TYPE)

    def test_start(self) -> None:
        """A start is a time, in any form that times have."""
        for start in (NOW + 60, str(NOW + 60), datetime.fromtimestamp(NOW + 60, UTC).isoformat()):
            self.assertEqual(self.begin(kind="cpu", hosts="*", start=start).status, HTTPStatus.OK)
            self.assertAlmostEqual(self.backend.asked.pop()[-2], 60.0)

    def test_queued(self) -> None:
        """A run that waits has no start yet."""
        waiting = Spec("7", "cpu", {}, ["web1"], NOW, QUEUED, 60.0)
        self.backend.answers["begin_benchmark"] = waiting
        answer = self.begin(kind="cpu", hosts="*", busy="queue").json
        self.assertEqual(answer, {"id": "7", "hosts": ["web1"], "start": None, "seconds": 60.0})

    def test_other(self) -> None:
        """Whom all are to meet has to be there, too."""
        for other, found in (("web2", True), ("web3", False), ("mail1", False), ("nobody", False), ("w*", False)):
            answer = self.begin(kind="echo", hosts="web1", parameters={"to": other})
            if found:
                self.assertEqual(answer.status, HTTPStatus.OK)
            else:
                self.assert_refused(answer, HTTPStatus.NOT_FOUND, f"no host {other!r} with an agent")

    def test_refused(self) -> None:
        """What the collector does not begin, and why."""
        for problem, status in (
            (BadLoad("parameters of cpu: nonsense"), HTTPStatus.BAD_REQUEST),
            (Occupied("web1 runs another"), HTTPStatus.CONFLICT),
            (Away("connection refused"), HTTPStatus.SERVICE_UNAVAILABLE),
        ):
            self.backend.answers["begin_benchmark"] = problem
            self.assert_refused(self.begin(kind="cpu", hosts="*"), status, str(problem))


class OthersTests(ApiTestCase):
    def test_list(self) -> None:
        """The newest, up to a limit that has its limits."""
        self.ask(PATH)
        self.ask(PATH + "?limit=5&host=web1")
        self.assertEqual(self.backend.asked, [("benchmarks", 100, ""), ("benchmarks", 5, "web1")])
        self.backend.asked.clear()
        for limit in ("0", "-1", "1001", "many", "", "99999"):
            self.assert_bad(self.ask(f"{PATH}?limit={limit}"), "limit is 1 to 1000")

    def test_output(self) -> None:
        """What a program wrote is handed out as it is; where there is nothing the answer says how to ask."""
        self.assertEqual(self.ask(f"{PATH}/7/output?host=web1").json, {"end": 1})
        self.assertEqual(self.backend.asked, [("benchmark_output", "7", "web1")])
        self.backend.answers["benchmark_output"] = None
        self.assert_refused(self.ask(f"{PATH}/7/output"), HTTPStatus.NOT_FOUND, "?host=web1")

    def test_unknown(self) -> None:
        """One that there is not is a 404, one that is over cannot be cancelled."""
        self.backend.answers |= {"benchmark": None, "cancel_benchmark": False}
        for method in ("GET", "DELETE"):
            self.assert_refused(self.ask(f"{PATH}/7", method), HTTPStatus.NOT_FOUND, "no benchmark '7'")
        self.backend.answers["benchmark"] = {"id": "7"}
        self.assert_refused(self.ask(f"{PATH}/7", "DELETE"), HTTPStatus.CONFLICT, "is over")
