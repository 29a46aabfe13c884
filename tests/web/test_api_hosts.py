"""Tests for what `perfmon.web.api` answers of one host: its removal, its summary and its statistics."""

from http import HTTPStatus

import numpy as np
from twisted.internet.defer import Deferred

from perfmon.core.frames import FormatError
from perfmon.core.globs import MAX_GLOB
from perfmon.core.query import BadQuery
from tests.web.fakes import NOW, ApiTestCase, Away

DAY = 86_400.0  # s

# What is asked of the collector, and by which method and path.
QUESTIONS = (
    ("remove", "DELETE", "/api/v1/hosts/web1"),
    ("summary", "GET", "/api/v1/hosts/web1/summary"),
    ("stats", "GET", "/api/v1/hosts/web1/stats"),
    ("export", "GET", "/api/v1/hosts/web1/export"),
)


class OneHostTests(ApiTestCase):
    """What all of these answers have in common."""

    def test_unknown(self) -> None:
        """A host that is not known is a 404 that names it, and nothing more is asked."""
        for _, method, path in QUESTIONS:
            answer = self.ask(path, method)
            self.assert_refused(answer, HTTPStatus.NOT_FOUND, "no host 'web1'; GET /api/v1/hosts lists them")
        self.assertEqual(
            self.backend.asked, [("hosts", "web1", "-")] * 2 + [("hosts", "web1", "*")] + [("hosts", "web1", "-")]
        )

    def test_no_name(self) -> None:
        """What cannot be a host's name is never taken for a pattern: nothing is removed or told by it."""
        self.backend.answers["hosts"] = [{"host": "web1", "state": "left"}]
        for name in ("*", "web%3F", "%5Bw%5Deb1", "web1%2Cweb2", "%20web1", "a%2Fb", "%C3%A9", "x" * 254):
            for _, method, path in QUESTIONS:
                answer = self.ask(path.replace("web1", name), method)
                self.assert_refused(answer, HTTPStatus.NOT_FOUND, "no host ")
        self.assertEqual(self.backend.asked, [])

    def test_store_away(self) -> None:
        """While the store is away each is a 503 that says why, whether it goes before or while it is asked."""
        for name, method, path in QUESTIONS:
            for away in ("hosts", name):
                self.backend.answers |= {"hosts": [{"host": "web1", "state": "left"}], away: Away("connection refused")}
                answer = self.ask(path, method)
                sentence = "the store cannot be used: connection refused"
                self.assert_refused(answer, HTTPStatus.SERVICE_UNAVAILABLE, sentence)

    def test_goes_away(self) -> None:
        """The store may go away while it is being asked, also for an export, which has not begun then."""
        for name, method, path in QUESTIONS:
            late: Deferred[bytes] = Deferred()
            self.backend.answers |= {"hosts": [{"host": "web1", "state": "left"}], name: late}
            if name == "export":
                self.backend.answers[name] = [late]
            wire = self.wire()
            self.assertEqual(wire.send(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()), [])
            late.errback(Away("connection lost"))
            self.assertEqual([answer.status for answer in wire.answers()], [HTTPStatus.SERVICE_UNAVAILABLE])

    def test_unreadable(self) -> None:
        """What this version cannot read in the store is a 500 that names the key; it is no bug, and not logged."""
        problem = FormatError("pm:{web1}:raw:1792310400:head: frame version 9 at byte 0")
        self.backend.answers["hosts"] = [{"host": "web1"}]
        for name, method, path in QUESTIONS[1:]:
            self.backend.answers[name] = problem
            self.assert_refused(self.ask(path, method), HTTPStatus.INTERNAL_SERVER_ERROR, str(problem))

    def test_bug(self) -> None:
        """A bug is a 500 without a word of it, and in the log."""
        self.backend.answers["hosts"] = [{"host": "web1"}]
        for name, method, path in QUESTIONS:
            self.backend.answers[name] = ZeroDivisionError("a secret")
            self.assert_refused(self.ask(path, method), HTTPStatus.INTERNAL_SERVER_ERROR, "internal error")
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1, name)

    def test_too_much(self) -> None:
        """What turns out to be too much is refused by what the collector says of it."""
        self.backend.answers["hosts"] = [{"host": "web1"}]
        for name, method, path in QUESTIONS[1:]:
            self.backend.answers[name] = BadQuery("more than 1,000,000 points a series")
            self.assert_refused(self.ask(path, method), HTTPStatus.BAD_REQUEST, "more than 1,000,000 points a series")

    def test_unknown_parameters(self) -> None:
        """A parameter that a path does not take is named with those that it takes, and nothing is done."""
        for (_, method, path), taken in zip(
            QUESTIONS,
            ("it takes none", "agg, metric", "from, until", "agg, format, from, metric, step, until"),
            strict=True,
        ):
            self.assert_bad(self.ask(path + "?host=web2", method), "unknown parameter 'host': ", taken)


class RemoveTests(ApiTestCase):
    def test_removed(self) -> None:
        """A host that is gone is removed, and the answer says how many keys it had."""
        for state, keys in (("left", 61), ("departed", 0), ("silent", 1)):
            self.backend.answers |= {"hosts": [{"host": "web7", "state": state}], "remove": keys}
            answer = self.ask("/api/v1/hosts/web7", "DELETE")
            self.assertEqual((answer.status, answer.json), (HTTPStatus.OK, {"removed": "web7", "keys": keys}))
        self.assertEqual(self.backend.asked, [("hosts", "web7", "-"), ("remove", "web7")] * 3)

    def test_decoded(self) -> None:
        """The host is the one that the path means when it is decoded."""
        self.backend.answers["hosts"] = [{"host": "w:1@x+y", "state": "left"}]
        self.assertEqual(self.ask("/api/v1/hosts/%77%3A1@x+y", "DELETE").json["removed"], "w:1@x+y")
        self.assertEqual(self.backend.asked, [("hosts", "w:1@x+y", "-"), ("remove", "w:1@x+y")])

    def test_there(self) -> None:
        """A host that is there is a 409 that says what to do first."""
        for state in ("up", "late"):
            self.backend.answers |= {"hosts": [{"host": "web1", "state": state}], "remove": None}
            self.assert_refused(
                self.ask("/api/v1/hosts/web1", "DELETE"),
                HTTPStatus.CONFLICT,
                f"web1 is {state}: a host that sends would come back; stop its agent or sender first",
            )

    def test_only_delete(self) -> None:
        """Nothing but DELETE removes, and only a host itself, not what there is of it."""
        self.backend.answers["hosts"] = [{"host": "web1", "state": "left"}]
        for method in ("GET", "HEAD", "POST", "PUT"):
            self.ask("/api/v1/hosts/web1", method)
        for path in ("/api/v1/hosts", "/api/v1/hosts/", "/api/v1/hosts/web1/stats", "/api/v1/hosts/web1/export"):
            self.assertEqual(self.ask(path, "DELETE").status, HTTPStatus.METHOD_NOT_ALLOWED, path)
        self.assertNotIn("remove", [asked[0] for asked in self.backend.asked])


class SummaryTests(ApiTestCase):
    PATH = "/api/v1/hosts/web1/summary"

    def setUp(self) -> None:
        super().setUp()
        self.backend.answers["hosts"] = [{"host": "web1"}]

    def test_parameters(self) -> None:
        """By default it is of CPU and memory, by their averages; any metrics and any aggregate can be asked for."""
        default = "perfmon.cpu.utilization,perfmon.memory.utilization"
        for query, metric, agg in (
            ("", default, "avg"),
            ("?agg=max", default, "max"),
            ("?metric=system.cpu.*", "system.cpu.*", "avg"),
            ("?metric=x%3By%3Dz&agg=rate", "x;y=z", "rate"),
        ):
            self.assertEqual(self.ask(self.PATH + query).status, HTTPStatus.OK)
            self.assertEqual(self.backend.asked, [("hosts", "web1", "-"), ("summary", "web1", metric, agg)])
            self.backend.asked.clear()

    def test_answer(self) -> None:
        """The answer is what the collector tells; a point without a value is null."""
        series = {"times": np.array([NOW, NOW + 60]), "values": np.array([np.nan, 0.25])}
        self.backend.answers["summary"] = {"host": "web1", "minutes": {"series": [series]}}
        self.assertEqual(
            self.ask(self.PATH).json,
            {"host": "web1", "minutes": {"series": [{"times": [NOW, NOW + 60], "values": [None, 0.25]}]}},
        )

    def test_bad(self) -> None:
        """A pattern that is too long is refused before anything is asked."""
        long = "x" * (MAX_GLOB + 1)
        self.assert_bad(self.ask(f"{self.PATH}?metric={long}"), f"parameter metric: pattern over {MAX_GLOB} characters")

    def test_bad_agg(self) -> None:
        """What the collector says of an aggregate that there is not is a 400."""
        self.backend.answers["summary"] = BadQuery("agg 'median' is unknown: use one of avg, min")
        answer = self.ask(self.PATH + "?agg=median")
        self.assert_refused(answer, HTTPStatus.BAD_REQUEST, "agg 'median' is unknown: use one of avg, min")


class StatsTests(ApiTestCase):
    PATH = "/api/v1/hosts/web1/stats"

    def setUp(self) -> None:
        super().setUp()
        self.known = {"host": "web1", "state": "up", "latest": {"x": {"value": 1.0}}}
        self.backend.answers["hosts"] = [self.known]

    def test_parameters(self) -> None:
        """The collector is given what is known of the host with all its metrics, and the range: by default a day."""
        for query, start, stop in (
            ("", NOW - DAY, NOW),
            ("?from=-2h", NOW - 7200, NOW),
            ("?until=-1h", NOW - DAY, NOW - 3600),
            ("?from=0&until=9999-12-31", 0.0, 253_402_214_400.0),
            ("?from=2026-10-18T07:00:00Z&until=1792310399.5", NOW - 3600, NOW - 0.5),
        ):
            self.assertEqual(self.ask(self.PATH + query).status, HTTPStatus.OK)
            self.assertEqual(self.backend.asked, [("hosts", "web1", "*"), ("stats", self.known, start, stop)])
            self.backend.asked.clear()

    def test_answer(self) -> None:
        """The answer is what the collector tells."""
        self.backend.answers["stats"] = {"host": "web1", "range": {"cpu": None}}
        self.assertEqual(self.ask(self.PATH).json, {"host": "web1", "range": {"cpu": None}})

    def test_bad(self) -> None:
        """A range that is none is refused before anything is asked."""
        for query, words in (
            ("from=yesterday", ("parameter from", "'yesterday'", "-1h")),
            ("from=", ("parameter from",)),
            ("until=1792310400000", ("parameter until", "is no time")),
            ("from=now", ("from must be before until",)),
            ("from=-1h&until=-2h", ("from must be before until",)),
            ("from=-1h&from=-2h", ("parameter from was given twice",)),
        ):
            self.assert_bad(self.ask(f"{self.PATH}?{query}"), *words)
