"""Tests for `perfmon.web.api`, on the real site before a stand-in for the collector."""

from http import HTTPStatus

import numpy as np
from twisted.internet.defer import Deferred

from perfmon.core.events import EventQuery
from perfmon.core.frames import FormatError
from perfmon.core.globs import MAX_GLOB
from perfmon.core.numbering import Numbering
from perfmon.core.posted import BadBody, parse_posted
from perfmon.core.query import AGGS, BadQuery, Query
from perfmon.core.reject import FUTURE, Rejected, TimeBounds
from perfmon.web.api import MAX_EVENTS, JsonApi
from tests.web.fakes import NOW, ApiTestCase, Away, StandIn, described


class RoutesTests(ApiTestCase):
    OTHER = ("/plain", "/api/v1/openapi.json", "/api/v1/live")  # what they answer is told by other tests

    def test_all(self) -> None:
        """These paths there are, and each of them is answered."""
        web1 = described("web1", kind="agent")
        ordered = {"host": "web1", "state": "up", "stopped": False, "interval": None}
        noted = {"host": "web1", "note": "mine", "dismissed": None}
        self.backend.answers |= {"hosts": [web1], "export": [b"{}"]}
        found = {}
        for route in JsonApi(StandIn(), lambda: NOW).routes():
            path = route.path.replace("{host}", "web1")
            query = "?metric=x" if route.path == "/api/v1/query" else ""
            bodies = {"interval": b'{"interval": 5}', "absence": b'{"for": "2h"}'}
            bodies["rightsizing"] = b'{"note": "mine"}'
            bodies["benchmarks"] = b'{"kind": "cpu", "hosts": "web1"}'
            body = bodies.get(route.path.rpartition("/")[2], b"{}")
            answer = self.post(body, path=path) if route.method == "POST" else self.ask(path + query, route.method)
            told = answer.headers["content-type"] if route.path in self.OTHER else answer.json
            found[route.method, route.path] = answer.status, told
        self.assertEqual(
            found,
            {
                ("GET", "/healthz"): (200, {"status": "ok"}),
                ("GET", "/readyz"): (200, {"status": "ready"}),
                ("GET", "/status"): (200, {}),
                ("GET", "/api/v1/status"): (200, {}),
                ("GET", "/plain"): (200, "text/html; charset=utf-8"),
                ("GET", "/api/v1/openapi.json"): (200, "application/json"),
                ("GET", "/api/v1/hosts"): (200, {"hosts": [web1]}),
                ("GET", "/api/v1/hosts/{host}"): (200, web1),
                ("DELETE", "/api/v1/hosts/{host}"): (200, {"removed": "web1", "keys": 1}),
                ("POST", "/api/v1/hosts/{host}/stop"): (200, ordered),
                ("POST", "/api/v1/hosts/{host}/start"): (200, ordered),
                ("POST", "/api/v1/hosts/{host}/interval"): (200, ordered),
                ("POST", "/api/v1/hosts/{host}/absence"): (200, {"host": "web1", "absence": None}),
                ("DELETE", "/api/v1/hosts/{host}/absence"): (200, {"host": "web1", "absence": None}),
                ("POST", "/api/v1/hosts/{host}/rightsizing"): (200, noted),
                ("GET", "/api/v1/rightsizing"): (200, {"hosts": []}),
                ("GET", "/api/v1/hosts/{host}/summary"): (200, {}),
                ("GET", "/api/v1/hosts/{host}/stats"): (200, {}),
                ("GET", "/api/v1/hosts/{host}/export"): (200, {}),
                ("GET", "/api/v1/query"): (200, {}),
                ("GET", "/api/v1/live"): (200, "text/event-stream"),
                ("GET", "/api/v1/events"): (200, {"events": []}),
                ("POST", "/api/v1/samples"): (200, {"stored": 0, "refused": []}),
                ("POST", "/api/v1/benchmarks"): (
                    200,
                    {"id": "7", "hosts": ["web1"], "start": NOW + 3, "seconds": 60.0},
                ),
                ("GET", "/api/v1/benchmarks"): (200, {"benchmarks": []}),
                ("GET", "/api/v1/benchmarks/{id}"): (200, {"id": "7"}),
                ("GET", "/api/v1/benchmarks/{id}/output"): (200, {"end": 1}),
                ("DELETE", "/api/v1/benchmarks/{id}"): (200, {"cancelled": "{id}"}),
            },
        )

    def test_store_away(self) -> None:
        """What needs the store is a 503 that says why while the store is away."""
        for name in self.backend.answers:
            self.backend.answers[name] = Away("connection refused")
        for path in ("/status", "/api/v1/hosts", "/api/v1/hosts/web1", "/api/v1/query?metric=x", "/api/v1/events"):
            answer = self.ask(path)
            self.assertEqual(answer.status, HTTPStatus.SERVICE_UNAVAILABLE, path)
            self.assertEqual(answer.error, "the store cannot be used: connection refused")
        self.assertEqual(self.post(b"{}").status, HTTPStatus.SERVICE_UNAVAILABLE)

    def test_unreadable(self) -> None:
        """What this version cannot read in the store is a 500 that names the key; it is no bug, and not logged."""
        problem = FormatError("pm:{web1}:raw:1792310400:head: frame version 9 at byte 0")
        self.backend.answers |= {"hosts": problem, "query": problem}
        for path in ("/api/v1/hosts", "/api/v1/hosts/web1", "/api/v1/query?metric=x"):
            self.assert_refused(self.ask(path), HTTPStatus.INTERNAL_SERVER_ERROR, str(problem))

    def test_store_goes_away(self) -> None:
        """It may go away while it is being asked."""
        waiting = self.backend.answers["hosts"] = Deferred()
        wire = self.wire()
        self.assertEqual(wire.send(b"GET /api/v1/hosts HTTP/1.1\r\nHost: localhost\r\n\r\n"), [])
        waiting.errback(Away("connection lost"))
        self.assertEqual([answer.status for answer in wire.answers()], [HTTPStatus.SERVICE_UNAVAILABLE])


class ProbeTests(ApiTestCase):
    def test_not_ready(self) -> None:
        """Without a store the collector is alive and not ready: it is not to be restarted, nor to be sent more."""
        self.backend.problem = "no such file"
        self.assertEqual(self.ask("/healthz").status, HTTPStatus.OK)
        answer = self.ask("/readyz")
        self.assertEqual(answer.status, HTTPStatus.SERVICE_UNAVAILABLE)
        self.assertEqual(answer.error, "the store cannot be used: no such file")

    def test_cheap(self) -> None:
        """Neither asks the store anything."""
        self.ask("/healthz")
        self.ask("/readyz")
        self.assertEqual(self.backend.asked, [])


class HostsTests(ApiTestCase):
    def test_patterns(self) -> None:
        """Hosts and metrics are chosen by patterns, by default all."""
        for query in ("", "?host=web*", "?metric=system.cpu.*,perfmon.*", "?host=a,b&metric=x%3By%3Dz", "?host="):
            self.ask("/api/v1/hosts" + query)
        self.assertEqual(
            self.backend.asked,
            [
                ("hosts", "*", "*"),
                ("hosts", "web*", "*"),
                ("hosts", "*", "system.cpu.*,perfmon.*"),
                ("hosts", "a,b", "x;y=z"),
                ("hosts", "", "*"),
            ],
        )

    def test_long_pattern(self) -> None:
        """A pattern that is too long is refused, wherever it stands."""
        long = "x" * (MAX_GLOB + 1)
        for path, name in (
            (f"/api/v1/hosts?host={long}", "host"),
            (f"/api/v1/hosts?metric={long}", "metric"),
            (f"/api/v1/hosts/web1?metric={long}", "metric"),
            (f"/api/v1/query?metric={long}", "metric"),
            (f"/api/v1/query?metric=x&host={long}", "host"),
        ):
            self.assert_bad(self.ask(path), f"parameter {name}: pattern over {MAX_GLOB} characters")

    def test_odd_patterns(self) -> None:
        """Whatever is written as a pattern is one."""
        for pattern in ("%5B", "%5Bz-a%5D", "%5B!%5D", ",", ",,", "**", "%5Cx", "(", "%00", "%F0%9F%92%A5"):
            self.assertEqual(self.ask(f"/api/v1/hosts?host={pattern}&metric={pattern}").status, HTTPStatus.OK, pattern)

    def test_one(self) -> None:
        """One host is the host itself, not a list."""
        self.backend.answers["hosts"] = [{"host": "web1", "state": "up"}]
        self.assertEqual(self.ask("/api/v1/hosts/web1?metric=a*").json, {"host": "web1", "state": "up"})
        self.ask("/api/v1/hosts/w%65b:1@x+y")
        self.assertEqual(self.backend.asked, [("hosts", "web1", "a*"), ("hosts", "web:1@x+y", "*")])

    def test_none(self) -> None:
        """A host that is not known is a 404 that names it."""
        answer = self.ask("/api/v1/hosts/web9")
        self.assertEqual(answer.status, HTTPStatus.NOT_FOUND)
        self.assertEqual(answer.error, "no host 'web9'; GET /api/v1/hosts lists them")

    def test_no_name(self) -> None:
        """What cannot be a host's name finds none, and is never taken for a pattern."""
        self.backend.answers["hosts"] = [{"host": "web1"}]
        for name in ("*", "web%3F", "%5Bw%5Deb1", "web1%2Cweb2", "%20web1", "web1%20", "a%2Fb", "%C3%A9", "x" * 254):
            self.assertEqual(self.ask(f"/api/v1/hosts/{name}").status, HTTPStatus.NOT_FOUND, name)
        self.assertEqual(self.backend.asked, [])


class QueryTests(ApiTestCase):
    def _asked(self, parameters: str) -> Query:
        answer = self.ask("/api/v1/query?" + parameters)
        self.assertEqual(answer.status, HTTPStatus.OK, answer.body)
        ((name, query),) = self.backend.asked
        self.backend.asked.clear()
        self.assertEqual(name, "query")
        assert isinstance(query, Query)
        return query

    def test_defaults(self) -> None:
        """With a metric alone: all hosts, the last hour, samples as they are."""
        self.assertEqual(self._asked("metric=x"), Query("*", "x", NOW - 3600, NOW, None, "avg"))

    def test_all_given(self) -> None:
        """Every parameter reaches the query; times may be written in several ways."""
        self.assertEqual(
            self._asked("host=web*&metric=system.cpu.*&from=-2d&until=-90m&step=1.5m&agg=max"),
            Query("web*", "system.cpu.*", NOW - 172_800, NOW - 5400, 90.0, "max"),
        )
        self.assertEqual(
            self._asked("metric=x&from=2026-10-18T09:00:00%2B02:00&until=1792310399.5&step=10"),
            Query("*", "x", NOW - 3600, NOW - 0.5, 10.0),
        )
        self.assertEqual(self._asked("metric=x&until=now&step="), Query("*", "x", NOW - 3600, NOW, None))

    def test_aggs(self) -> None:
        """Every aggregate can be asked for."""
        self.assertEqual({self._asked(f"metric=x&step=60&agg={agg}").agg for agg in AGGS}, set(AGGS))

    def test_bad(self) -> None:
        """What is wrong is said by the name of the parameter, with what to write instead."""
        for parameters, words in (
            ("", ("metric is needed",)),
            ("metric=", ("metric is needed",)),
            ("host=web1", ("metric is needed",)),
            ("metric=x&from=yesterday", ("parameter from", "'yesterday'", "-1h")),
            ("metric=x&from=", ("parameter from",)),
            ("metric=x&from=-1parsec", ("parameter from",)),
            ("metric=x&until=1792310400000", ("parameter until", "is no time")),
            ("metric=x&until=nan", ("parameter until",)),
            ("metric=x&until=1e9", ("parameter until",)),
            ("metric=x&until=" + "9" * 400, ("parameter until",)),
            ("metric=x&from=-" + "9" * 400 + "y", ("parameter from",)),
            ("metric=x&step=often", ("parameter step", "is no duration")),
            ("metric=x&step=-5", ("parameter step",)),
            ("metric=x&step=0", ("step must be 0.001 s to 400 days",)),
            ("metric=x&step=99999999999d", ("step must be 0.001 s to 400 days",)),
            ("metric=x&agg=median", (f"agg 'median' is unknown: use one of {', '.join(AGGS)}",)),
            ("metric=x&agg=p95", ("p95 is that of a step: give one, such as step=5m",)),
            ("metric=x&agg=", ("agg '' is unknown",)),
            ("metric=x&from=now", ("from must be before until",)),
            ("metric=x&from=-1h&until=-2h", ("from must be before until",)),
            ("metric=x&metric=y", ("parameter metric was given twice",)),
            ("metric=x&form=-1h", ("unknown parameter 'form'", "from")),
        ):
            self.assert_bad(self.ask("/api/v1/query?" + parameters), *words)

    def test_too_much(self) -> None:
        """A question that only turns out to be too large is refused by what the collector says of it."""
        self.backend.answers["query"] = BadQuery("more than 1,000,000 points")
        answer = self.ask("/api/v1/query?metric=*")
        self.assertEqual((answer.status, answer.error), (HTTPStatus.BAD_REQUEST, "more than 1,000,000 points"))

    def test_points(self) -> None:
        """Points are pairs of time and value; where there is no value, null."""
        values = np.array([0.5, np.nan, np.inf, -1e300])
        self.backend.answers["query"] = {"series": [{"times": np.arange(4), "values": values}, {"values": values[:0]}]}
        (first, second) = self.ask("/api/v1/query?metric=x").json["series"]
        self.assertEqual(first, {"times": [0, 1, 2, 3], "values": [0.5, None, None, -1e300]})
        self.assertEqual(second["values"], [])


class EventsTests(ApiTestCase):
    def test_since(self) -> None:
        """Since an event, or since a moment in any spelling; by default a day."""
        ms = round(NOW * 1000)
        for given, since in (
            ("", str(ms - 86_400_000)),
            ("since=1792310399000-0", "1792310399000-0"),
            ("since=0-0", "0-0"),
            ("since=18446744073709551614-18446744073709551614", "18446744073709551614-18446744073709551614"),
            ("since=-10m", str(ms - 600_000)),
            ("since=-1", str(ms - 1000)),
            ("since=now", str(ms)),
            ("since=1792310399.25", str(ms - 750)),
            ("since=0", "0"),
            ("since=2026-10-18", str(ms - 8 * 3_600_000)),
            ("since=2026-10-18T08:00:00Z", str(ms)),
            ("since=1969-01-01", "0"),
            ("since=-60y", "0"),
        ):
            self.assertEqual(self.ask("/api/v1/events?" + given).status, HTTPStatus.OK, given)
            self.assertEqual(self.backend.asked.pop(), ("events", EventQuery(since, 100)), given)

    def test_bad_since(self) -> None:
        """What is neither, and what the store would not take as an id, is refused here."""
        for since in (
            "",
            "web1",
            "--",
            "-",
            "1-",
            "1-2-3",
            "1792310399000",
            "18446744073709551615-0",
            "0-99999999999999999999",
            "99999999999999999999999-0",
            "%D9%A1-%D9%A1",
        ):
            self.assert_bad(self.ask("/api/v1/events?since=" + since), "parameter since")

    def test_limit(self) -> None:
        """The limit has its limits."""
        for limit in (1, MAX_EVENTS):
            self.ask(f"/api/v1/events?since=0-0&limit={limit}")
            self.assertEqual(self.backend.asked.pop(), ("events", EventQuery("0-0", limit)))
        for text in ("0", "-1", str(MAX_EVENTS + 1), "", "many", "1.5", "9" * 5000):
            self.assert_bad(self.ask(f"/api/v1/events?limit={text}"), "limit")

    def test_order(self) -> None:
        """desc begins with the newest; anything but asc and desc is refused."""
        self.ask("/api/v1/events?since=0-0&order=desc")
        self.assertEqual(self.backend.asked.pop(), ("events", EventQuery("0-0", 100, newest=True)))
        self.assertIn("order is asc", self.ask("/api/v1/events?order=newest").error)

    def test_until(self) -> None:
        """Before an event, or before a moment; by default up to now."""
        ms = round(NOW * 1000)
        for given, until in (
            ("", ""),
            ("until=", ""),
            ("until=1792310399000-7", "1792310399000-7"),
            ("until=-10m", f"{ms - 600_000}-0"),
            ("until=0", "0-1"),
            ("until=00-0", "0-1"),
        ):
            self.ask("/api/v1/events?since=0-0&" + given)
            self.assertEqual(self.backend.asked.pop(), ("events", EventQuery("0-0", 100, until=until)), given)
        self.assert_bad(self.ask("/api/v1/events?until=soon"), "parameter until")

    def test_chosen(self) -> None:
        """Events of some hosts, or of some kinds; a kind that there is not is refused with those that there are."""
        self.ask("/api/v1/events?since=0-0&host=web*,db1&kind=departed,gap")
        asked = EventQuery("0-0", 100, host="web*,db1", kinds=frozenset({"departed", "gap"}))
        self.assertEqual(self.backend.asked.pop(), ("events", asked))
        self.assert_bad(self.ask("/api/v1/events?kind=departed,exploded"), "'exploded' is unknown", "departed", "gap")
        self.assert_bad(self.ask("/api/v1/events?host=" + "x" * 2_000), "parameter host")

    def test_answer(self) -> None:
        """Events come as the collector tells them."""
        event = {"kind": "departed", "hosts": ["web1"], "at": NOW, "reason": "timeout", "id": "1-0"}
        self.backend.answers["events"] = [event]
        self.assertEqual(self.ask("/api/v1/events").json, {"events": [event]})


class SamplesTests(ApiTestCase):
    def test_answer(self) -> None:
        """How many were stored, and why others were not, by their place."""
        self.backend.answers["post"] = 2, {1: Rejected(FUTURE, "too far ahead")}
        answer = self.post(b'{"samples": []}')
        self.assertEqual(
            answer.json, {"stored": 2, "refused": [{"place": 1, "reason": "future", "detail": "too far ahead"}]}
        )
        self.assertEqual(self.backend.asked, [("post", b'{"samples": []}')])

    def test_content_type(self) -> None:
        """JSON only, which no form of another site can send."""
        for good in ("application/json", "application/json; charset=utf-8", "Application/JSON"):
            self.assertEqual(self.post(b"{}", good).status, HTTPStatus.OK, good)
        self.backend.asked.clear()
        for bad in ("", "text/plain", "application/x-www-form-urlencoded", "text/plain; application/json", "json"):
            answer = self.post(b"{}", bad)
            self.assertEqual(answer.status, HTTPStatus.UNSUPPORTED_MEDIA_TYPE, bad)
            self.assertEqual(answer.error, "send Content-Type: application/json")
        self.assertEqual(self.backend.asked, [])

    def test_content_type_raw(self) -> None:
        """Without the header, and with one that is no text, it is the same."""
        for headers in ([], [b"Content-Type: \xff\xfe"]):
            answer = self.ask_raw(b"/api/v1/samples", *headers, method=b"POST")
            self.assertEqual(answer.status, HTTPStatus.UNSUPPORTED_MEDIA_TYPE)

    def test_malformed(self) -> None:
        """A body that is not what it should be is refused with what it should be."""
        for body in (
            b"",
            b"{",
            b"[]",
            b"null",
            b'{"samples": [{"metric": "x", "value": "1"}]}',
            b'{"samples": [{"metric": "x"}]}',
            b'{"samples": [{"metric": "x", "value": 1, "when": 2}]}',
            b'{"samples": [{"metric": "x", "value": NaN}]}',
            b'{"samples": [{"metric": "\xff", "value": 1}]}',
            b'{"host": 5, "samples": []}',
            b"[" * 100_000,
        ):
            try:
                parse_posted(body, Numbering(lambda: 1), NOW, TimeBounds.at(NOW))
            except BadBody as problem:
                self.backend.answers["post"] = problem
            else:
                self.fail(body[:80])
            answer = self.post(body)
            self.assertEqual(answer.status, HTTPStatus.BAD_REQUEST)
            self.assertIn('send {"host": "web1"', answer.error)

    def test_no_parameters(self) -> None:
        """Nothing of the samples stands in the address."""
        self.assert_bad(
            self.ask("/api/v1/samples?host=web1", "POST", {"Content-Type": "application/json"}, b"{}"),
            "unknown parameter 'host'",
        )
