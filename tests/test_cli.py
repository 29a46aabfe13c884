"""Tests for what the command line reads and writes; tests/integration runs it against a collector."""

import argparse
import io
import os
import re
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import parse_qs

import orjson
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import SynchronousTestCase

from perfmon.cli import _joined, parser
from perfmon.commands.wording import moment, offset, written, zoned
from perfmon.core.exporting import FORMATS
from perfmon.core.query import AGGS
from tests.commands.test_client import CHUNKED, CSV, AnsweringCase, answer

PERFMON = Path(sys.executable).with_name("perfmon")


def option(command: str, name: str) -> argparse.Action:
    """An option of a command."""
    (commands,) = (action for action in parser()._actions if isinstance(action, argparse._SubParsersAction))
    options: list[argparse.Action] = commands.choices[command]._actions
    (found,) = (action for action in options if name in action.option_strings)
    return found


class ReadTests(SynchronousTestCase):
    def test_times(self) -> None:
        """A time without a zone is in the local zone, as times are shown; everything else goes to the API as it is."""
        self.patch(os, "environ", {**os.environ, "TZ": "Asia/Kolkata"})
        os.putenv("TZ", "Asia/Kolkata")
        time.tzset()
        self.addCleanup(time.tzset)
        self.addCleanup(os.unsetenv, "TZ")
        self.assertEqual(zoned("2026-01-31T12:00"), "2026-01-31T12:00:00+05:30")
        self.assertEqual(zoned("2026-01-31T12:00+01:00"), "2026-01-31T16:30:00+05:30")
        for text in ("now", "-1h", "1792310400.5", "-90m", "yesterday-ish", "1792310399000-0"):
            self.assertEqual(zoned(text), text)

    def test_commands(self) -> None:
        """Every command knows where the collector is by default."""
        for words in (["status"], ["hosts"], ["query", "x"], ["events"], ["export", "web1"], ["stop", "web1"]):
            self.assertEqual(parser().parse_args(words).url, os.environ.get("PERFMON_URL", "http://127.0.0.1:9001"))

    def test_export(self) -> None:
        """An export is of one host; by default CSV of all metrics of the last day, to standard output."""
        names = ("host", "format", "metric", "output", "start", "until", "step", "agg")
        every = "export web1 --format ndjson --metric cpu.* --output f --from -2h --until -1h --step 5m --agg p95"
        for words, expected in (
            ("export web1", ("web1", "csv", "*", None, "-1d", "now", None, "avg")),
            (every, ("web1", "ndjson", "cpu.*", "f", "-2h", "-1h", "5m", "p95")),
        ):
            options = vars(parser().parse_args(_joined(words.split())))
            self.assertEqual(tuple(options[name] for name in names), expected)

    def test_delete(self) -> None:
        """A removal is of one host."""
        self.assertEqual(parser().parse_args(["delete", "web7"]).host, "web7")

    def test_wrong(self) -> None:
        """A command that lacks what it needs, or has too much, is refused by the parser."""
        self.patch(sys, "stderr", io.StringIO())
        for words in (
            ["export"],
            ["export", "web1", "web2"],
            ["export", "web1", "--format", "xml"],
            ["delete"],
            ["delete", "web1", "web2"],
            ["delete", "web1", "--from=-1h"],
            ["stop"],
            ["interval", "5s"],
            ["absence", "web1"],
            ["absence", "--for", "2h"],
            ["absence", "web1", "--for", "2h", "--end"],
        ):
            with self.assertRaises(SystemExit) as caught:
                parser().parse_args(words)
            self.assertEqual(caught.exception.code, 2, words)

    def test_help(self) -> None:
        """The help names every aggregate and every format that there is, in their order, and no other."""
        for command in ("query", "export"):
            names, _, default = str(option(command, "--agg").help).partition(" (")
            self.assertEqual(re.split(", | or ", names), list(AGGS))
            self.assertEqual(default, "default avg)")
        form = option("export", "--format")
        self.assertEqual((list(form.choices or ()), form.default), (list(FORMATS), "csv"))


class WrittenTests(SynchronousTestCase):
    def test_table(self) -> None:
        """Values are written with their units as people read them."""
        for value, unit, expected in (
            (0.4256, "1", "42.6 %"),
            (0, "By", "0 B"),
            (1536, "By", "1.5 KiB"),
            (3 * 1024**5, "By", "3072.0 TiB"),
            (90.5, "s", "90.5 s"),
            (7_325, "s", "2 h 2 min"),
            (200_000, "s", "2 d 7 h 33 min"),
            (1_234_567.5, "", "1,234,567.5"),
            (3, "{thread}", "3"),
            (41.25, "Cel", "41.25 Cel"),
        ):
            self.assertEqual(written(value, unit), expected)

    def test_clock(self) -> None:
        """A clock's offset is told as far as it is known."""
        for known, round_trip, expected in (
            (0.0004, 0.001, "0 s"),
            (0.0006, 0.001, "+0.0006 s"),
            (-3600.25, 0.5, "-3.6e+03 s"),
            (12.345, 0.5, "+12.3 s"),
        ):
            self.assertEqual(offset({"clock": {"offset": known, "round_trip": round_trip}}), expected)
        self.assertEqual(offset({"clock": None}), "")


class RunTests(AnsweringCase):
    """The program itself, before a server that answers what it is told to."""

    async def run_it(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        out, error, code = await getProcessOutputAndValue(
            str(PERFMON), [*arguments, "--url", self.url], env=dict(os.environ)
        )
        return code, out.decode(), error.decode()

    def folder(self) -> Path:
        folder = TemporaryDirectory(prefix="pm-")
        self.addCleanup(folder.cleanup)
        return Path(folder.name)

    def asked(self) -> tuple[str, dict[str, list[str]]]:
        """Method and path of the request, and its parameters."""
        target, _, query = self.server.request()[0].removesuffix(" HTTP/1.1").partition("?")
        return target, parse_qs(query)

    async def test_export(self) -> None:
        """What comes is written as it is, to standard output or to a file."""
        self.answers(answer("time,metric,value\nGröße\n".encode(), kind=CSV))
        self.assertEqual(await self.run_it("export", "w:1@x+y"), (0, "time,metric,value\nGröße\n", ""))
        expected: dict[str, Any] = {
            "format": ["csv"],
            "metric": ["*"],
            "agg": ["avg"],
            "from": ["-1d"],
            "until": ["now"],
        }
        self.assertEqual(self.asked(), ("GET /api/v1/hosts/w%3A1%40x%2By/export", expected))
        file = self.folder() / "web1.ndjson"
        file.write_text("of yesterday")
        self.server.heard = b""
        words = "export web1 --format ndjson --metric cpu.* --from -2h --until 2026-01-31T12:00Z --step 5m --agg p95"
        self.assertEqual(await self.run_it(*words.split(), "--output", str(file)), (0, "", ""))
        self.assertEqual(file.read_text(), "time,metric,value\nGröße\n")
        target, parameters = self.asked()
        self.assertEqual(target, "GET /api/v1/hosts/web1/export")
        until = parameters.pop("until")[0]
        expected = {"format": ["ndjson"], "metric": ["cpu.*"], "agg": ["p95"], "from": ["-2h"], "step": ["5m"]}
        self.assertEqual(parameters, expected)
        self.assertEqual(until, zoned("2026-01-31T12:00Z"))

    async def test_broken_off(self) -> None:
        """A file that is broken off in the middle ends it with 1 and says so; what came is there."""
        self.answers(CHUNKED + b"5\r\ntime,\r\n")
        sentence = "perfmon: the collector broke off in the middle: what was written is not all\n"
        self.assertEqual(await self.run_it("export", "web1"), (1, "time,", sentence))

    async def test_refused(self) -> None:
        """What is refused ends it with 1 and the collector's sentence; nothing is on standard output."""
        for sentence, *words in (
            ("no host 'web1'; GET /api/v1/hosts lists them", "export", "web1"),
            ("web1 is up: a host that sends would come back; stop its agent or sender first", "delete", "web1"),
        ):
            self.answers(answer(b'{"error": "%s"}' % sentence.encode(), b"404 Not Found"))
            self.assertEqual(await self.run_it(*words), (1, "", f"perfmon: {sentence}\n"))

    async def test_delete(self) -> None:
        """A removal tells what was removed, as a sentence or as it was answered."""
        self.answers(answer(b'{"removed": "w:1@x+y", "keys": 1061}'))
        sentence = "w:1@x+y is removed, with 1,061 keys of the store\n"
        self.assertEqual(await self.run_it("delete", "w:1@x+y"), (0, sentence, ""))
        self.assertEqual(self.asked(), ("DELETE /api/v1/hosts/w%3A1%40x%2By", {}))
        code, out, _ = await self.run_it("delete", "w:1@x+y", "--json")
        self.assertEqual((code, orjson.loads(out)), (0, {"removed": "w:1@x+y", "keys": 1061}))

    async def test_control(self) -> None:
        """What was ordered is told for each host; the request is one of JSON."""
        for words, reply, sentence, path, body in (
            ("stop", {"state": "up", "stopped": True, "interval": 2.5}, "no samples", "stop", {}),
            ("start", {"state": "late", "stopped": False, "interval": None}, "samples", "start", {}),
            (
                "interval 5s",
                {"state": "left", "stopped": False, "interval": 5.0},
                "samples every 5 s once it is back: it is left",
                "interval",
                {"interval": "5s"},
            ),
        ):
            self.answers(answer(orjson.dumps({"host": "w:1@x", **reply})))
            self.assertEqual(await self.run_it(*words.split(), "w:1@x"), (0, f"w:1@x: {sentence}\n", ""))
            line, headers = self.server.request()
            self.assertEqual(line, f"POST /api/v1/hosts/w%3A1%40x/{path} HTTP/1.1")
            self.assertEqual(headers["content-type"], "application/json")
            self.assertEqual(orjson.loads(self.server.body), body)

    async def test_control_of_several(self) -> None:
        """A host that cannot be told keeps none of the others from it, and the end is 1."""
        body = b'{"error": "no host"}'
        refusal = answer(body, b"404 Not Found").replace(b"404 Not Found", b"404 Not Found\r\nConnection: close")
        self.answers(refusal)
        code, out, error = await self.run_it("stop", "web1", "web2")
        self.assertEqual((code, out, error), (1, "", "perfmon: no host\n"), "the same only once")

    async def test_absence(self) -> None:
        """What was planned is told for each host, with times in the local zone."""
        until = 1_800_000_000.0
        for words, reply, sentence, request, body in (
            (
                ["--for", "2h", "--reason", "new disks"],
                {"until": until, "reason": "new disks"},
                f"may be absent until {moment(until)} (new disks)",
                "POST",
                {"for": "2h", "reason": "new disks"},
            ),
            (
                ["--until", "2027-01-15T12:00:00Z"],
                {"until": until, "reason": ""},
                f"may be absent until {moment(until)}",
                "POST",
                {"until": zoned("2027-01-15T12:00:00Z")},
            ),
            (["--end"], None, "no absence is planned", "DELETE", None),
        ):
            self.answers(answer(orjson.dumps({"host": "w:1@x", "absence": reply})))
            self.assertEqual(await self.run_it("absence", "w:1@x", *words), (0, f"w:1@x: {sentence}\n", ""))
            line, _ = self.server.request()
            self.assertEqual(line, f"{request} /api/v1/hosts/w%3A1%40x/absence HTTP/1.1")
            if body is not None:
                self.assertEqual(orjson.loads(self.server.body), body)

    async def test_not_written(self) -> None:
        """A file that cannot be written ends it with 1 and says why."""
        self.answers(answer(b"time,", kind=CSV))
        code, _, error = await self.run_it("export", "web1", "--output", str(self.folder() / "none" / "web1.csv"))
        self.assertEqual(code, 1)
        self.assertIn("No such file or directory", error)
        self.assertNotIn("Traceback", error)
