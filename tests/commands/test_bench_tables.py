"""Tests for `perfmon.commands.bench_tables`: what the integration tests do not come to."""

from io import StringIO
from typing import Any

from rich.console import Console
from twisted.trial.unittest import SynchronousTestCase

from perfmon.commands.bench_tables import print_list, print_run

FIGURES = {"rate": 1024.0, "p50": 0.001, "mismatches": 0}


def run(pairs: dict[str, dict[str, Any]]) -> dict[str, Any]:
    hosts = {
        host: {"state": "done", "reason": "", "figures": FIGURES, "expected": {}, "pairs": met}
        for host, met in pairs.items()
    }
    more = {"parameters": {"pairs": "all", "to": ""}, "totals": None, "skew": 0.001}
    return {"id": "7", "kind": "echo", "state": "done", "hosts": hosts, **more}


class PrintTests(SynchronousTestCase):
    def printed(self, what: Any, *arguments: Any) -> str:
        text = StringIO()
        what(Console(file=text, width=200), *arguments)
        return text.getvalue()

    def test_many_pairs(self) -> None:
        """Of many hosts only the pairs are shown that something is wrong with."""
        names = [f"web{number}" for number in range(20)]
        pairs: dict[str, Any] = {host: {peer: FIGURES for peer in names if peer != host} for host in names}
        pairs["web3"]["web7"] = {**FIGURES, "mismatches": 2}
        pairs["web4"]["web8"] = {**FIGURES, "problem": "192.0.2.8 port 7: no connection within 5 s"}
        text = self.printed(print_run, run(pairs))
        self.assertIn("380 pairs, 2 with a problem", text)
        self.assertIn("web3 to web7:  2 wrong", text)
        self.assertIn("web4 to web8:  unreached 192.0.2.8 port 7", text)
        self.assertNotIn("from / to", text)

    def test_one_peer(self) -> None:
        """Where all meet one, their own lines tell it; a table only says what is wrong."""
        self.assertNotIn("from / to", self.printed(print_run, run({"a": {"collector": FIGURES}})))
        wrong = {**FIGURES, "unanswered": 3}
        self.assertIn("3 unanswered", self.printed(print_run, run({"a": {"collector": wrong}})))

    def test_queued(self) -> None:
        """A run that waits has no start yet."""
        waiting = {"id": "7", "kind": "cpu", "start": None, "seconds": 5.0, "state": "queued", "counts": {"waiting": 1}}
        self.assertRegex(self.printed(print_list, [waiting]), r"7 +cpu +5 +queued +1 waiting")
