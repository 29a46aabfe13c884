"""Tests for the export of `perfmon.web.api`, on the real site before a stand-in for the collector."""

from http import HTTPStatus

from twisted.internet.defer import Deferred

from perfmon.core.exporting import FORMATS
from perfmon.core.frames import FormatError
from perfmon.core.globs import MAX_GLOB
from perfmon.core.query import AGGS, BadQuery, Query
from tests.web.fakes import NOW, ApiTestCase, Away, Wire

PATH = "/api/v1/hosts/web1/export"
DAY = 86_400.0  # s
END = b"0\r\n\r\n"  # of a body in chunks


class ExportTestCase(ApiTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.backend.answers |= {"hosts": [{"host": "web1", "state": "up"}], "export": [b"time,", b"metric\n"]}

    def begin(self) -> Wire:
        """A connection on which the export was asked for; its answer need not be whole."""
        wire = self.wire()
        wire._protocol.dataReceived(f"GET {PATH} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        return wire


class ParameterTests(ExportTestCase):
    def _asked(self, parameters: str) -> tuple[Query, str]:
        """What was asked of the collector beside the host."""
        answer = self.ask(f"{PATH}?{parameters}")
        self.assertEqual(answer.status, HTTPStatus.OK, answer.body)
        hosts, (name, query, form) = self.backend.asked
        self.backend.asked.clear()
        self.assertEqual((hosts, name), (("hosts", "web1", "-"), "export"))
        assert isinstance(query, Query)
        return query, form

    def test_defaults(self) -> None:
        """By default it is CSV of all metrics of the last day, the samples as they are."""
        self.assertEqual(self._asked(""), (Query("web1", "*", NOW - DAY, NOW, None, "avg"), "csv"))

    def test_all_given(self) -> None:
        """Every parameter reaches the collector; times may be written in several ways."""
        self.assertEqual(
            self._asked("format=ndjson&metric=system.cpu.*&from=-2d&until=-90m&step=1.5m&agg=max"),
            (Query("web1", "system.cpu.*", NOW - 2 * DAY, NOW - 5400, 90.0, "max"), "ndjson"),
        )
        self.assertEqual(
            self._asked("metric=a,b&from=0&until=9999-12-31&step="),
            (Query("web1", "a,b", 0.0, 253_402_214_400.0, None), "csv"),
        )

    def test_aggs(self) -> None:
        """Every aggregate can be asked for."""
        self.assertEqual({self._asked(f"step=60&agg={agg}")[0].agg for agg in AGGS}, set(AGGS))

    def test_bad(self) -> None:
        """What is wrong is said by the name of the parameter, with what to write instead; no export begins."""
        for parameters, words in (
            ("format=xml", ("format is one of csv, ndjson",)),
            ("format=", ("format is one of csv, ndjson",)),
            ("format=CSV", ("format is one of csv, ndjson",)),
            ("metric=" + "x" * (MAX_GLOB + 1), (f"parameter metric: pattern over {MAX_GLOB} characters",)),
            ("from=yesterday", ("parameter from", "'yesterday'", "-1h")),
            ("until=1792310400000", ("parameter until", "is no time")),
            ("from=now", ("from must be before until",)),
            ("step=often", ("parameter step", "is no duration")),
            ("step=0", ("step must be 0.001 s to 400 days",)),
            ("step=401d", ("step must be 0.001 s to 400 days",)),
            ("agg=median", (f"agg 'median' is unknown: use one of {', '.join(AGGS)}",)),
            ("agg=p50", ("p50 is that of a step: give one, such as step=5m",)),
            ("metric=x&metric=y", ("parameter metric was given twice",)),
            ("host=web2", ("unknown parameter 'host'", "format")),
        ):
            self.assert_refused(self.ask(f"{PATH}?{parameters}"), HTTPStatus.BAD_REQUEST, *words)
        self.assertLessEqual({asked[0] for asked in self.backend.asked}, {"hosts"})


class AnswerTests(ExportTestCase):
    def test_formats(self) -> None:
        """A file has the media type of its format, and a name by its host and format to be kept under."""
        self.backend.answers["hosts"] = [{"host": "w:1@x+y-2.example_3"}]
        for form, media_type in (
            ("csv", "text/csv; charset=utf-8; header=present"),
            ("ndjson", "application/x-ndjson"),
        ):
            answer = self.ask(f"/api/v1/hosts/w:1@x+y-2.example_3/export?format={form}")
            self.assertEqual((answer.status, answer.body), (HTTPStatus.OK, b"time,metric\n"))
            self.assertEqual(answer.headers["content-type"], media_type)
            disposition = f'attachment; filename="w:1@x+y-2.example_3.{form}"'
            self.assertEqual(answer.headers["content-disposition"], disposition)
            self.assertEqual(answer.headers["cache-control"], "no-store")
        self.assertEqual(set(FORMATS), {"csv", "ndjson"})

    def test_empty(self) -> None:
        """A file of nothing is a good one."""
        for chunks in ([], [b""]):
            self.backend.answers["export"] = chunks
            answer = self.ask(f"{PATH}?format=ndjson")
            self.assertEqual((answer.status, answer.body), (HTTPStatus.OK, b""))
            self.assertEqual(answer.headers["content-type"], "application/x-ndjson")

    def test_head(self) -> None:
        """HEAD has the headers of GET, and nothing of the file."""
        wire = self.wire()
        answer = wire.send_for_head(f"HEAD {PATH} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        self.assertEqual((answer.status, answer.body), (HTTPStatus.OK, b""))
        self.assertEqual(answer.headers["content-disposition"], 'attachment; filename="web1.csv"')

    def test_as_it_is_made(self) -> None:
        """What is made is sent at once, and the end when the last of it is."""
        late: Deferred[bytes] = Deferred()
        self.backend.answers["export"] = [b"early", late]
        wire = self.begin()
        sent: bytes = wire.transport.value()
        self.assertTrue(sent.endswith(b"\r\n\r\n5\r\nearly\r\n"))
        late.callback(b"late")
        self.assertTrue(wire.transport.value().endswith(b"4\r\nlate\r\n" + END))


class FailureTests(ExportTestCase):
    def test_before(self) -> None:
        """What goes wrong before the first chunk has its own status, and is no download."""
        for problem, status, sentence in (
            (Away("connection lost"), HTTPStatus.SERVICE_UNAVAILABLE, "the store cannot be used: connection lost"),
            (BadQuery("more than 1,000,000 points"), HTTPStatus.BAD_REQUEST, "more than 1,000,000 points"),
            (FormatError("pm:{web1}:raw:0: bad"), HTTPStatus.INTERNAL_SERVER_ERROR, "pm:{web1}:raw:0: bad"),
        ):
            self.backend.answers["export"] = [problem]
            answer = self.ask(PATH)
            self.assert_refused(answer, status, sentence)
            self.assertNotIn("content-disposition", answer.headers)

    def test_in_the_middle(self) -> None:
        """What goes wrong later is logged, and breaks the connection off before the end of the file."""
        for problem in (Away("connection lost"), FormatError("pm:{web1}:raw:0: bad"), ZeroDivisionError("a bug")):
            self.backend.answers["export"] = [b"begun", problem, b"never"]
            wire = self.begin()
            self.assertTrue(wire.transport.value().endswith(b"\r\n\r\n5\r\nbegun\r\n"))
            self.assertTrue(wire.transport.disconnected)
            (logged,) = self.flushLoggedErrors()
            self.assertIn(str(problem), logged.getErrorMessage())

    def test_client_goes(self) -> None:
        """When the client goes, what is being made is cancelled, no more is, and nothing is logged."""
        for before in ([], [b"begun"]):
            cancelled: list[Deferred[bytes]] = []
            late: Deferred[bytes] = Deferred(cancelled.append)
            self.backend.answers["export"] = [*before, late, b"never"]
            wire = self.begin()
            wire.lose()
            self.assertEqual(cancelled, [late])
            self.assertEqual(self.flushLoggedErrors(), [])
