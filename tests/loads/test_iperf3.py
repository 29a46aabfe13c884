"""Tests for `perfmon.loads.iperf3`: what it makes of iperf3's words, and the real one where it is installed."""

import json
import os
import shutil
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.loads import Iperf3
from perfmon.core.messages import Peer
from perfmon.loads import iperf3
from perfmon.loads.iperf3 import Iperf3Running, figures_of
from perfmon.loads.running import Refused

INSTALLED = shutil.which("iperf3") or os.environ.get("CI")


class FiguresTests(SynchronousTestCase):
    def test_tcp(self) -> None:
        """Bytes that came, and bytes a second."""
        told = {
            "end": {
                "sum_sent": {"bytes": 1_200, "retransmits": 3},
                "sum_received": {"bytes": 1_000, "seconds": 2.0},
            }
        }
        expected = {"bytes": 1_000, "seconds": 2.0, "rate": 500.0, "sent": 1_200, "retransmits": 3}
        self.assertEqual(figures_of(told), expected)

    def test_udp(self) -> None:
        """Of datagrams also the jitter (s) and what was lost (share)."""
        came = {"bytes": 900, "seconds": 1.0, "jitter_ms": 0.5, "lost_percent": 10.0}
        found = figures_of({"end": {"sum_sent": {"bytes": 1_000}, "sum_received": came}})
        self.assertEqual((found["jitter"], found["lost"]), (0.0005, 0.1))

    def test_problem(self) -> None:
        """What iperf3 says of a test that came to nothing."""
        found = figures_of({"end": {}, "error": "unable to connect to server: Connection refused"})
        self.assertEqual((found["bytes"], found["rate"]), (0, 0.0))
        self.assertIn("Connection refused", str(found["problem"]))


class Iperf3Tests(SynchronousTestCase):
    def running(self, load: Iperf3, duration: float) -> Iperf3Running:
        running = Iperf3Running(load, duration, ("127.0.0.1", 0), time.perf_counter)
        self.addCleanup(running.clean)
        return running

    def test_not_installed(self) -> None:
        """A machine without iperf3 refuses."""
        self.patch(os, "environ", {"PATH": "/nowhere"})
        with self.assertRaisesRegex(Refused, "not installed"):
            self.running(Iperf3(), 10.0).prepare()

    @unittest.skipUnless(INSTALLED, "iperf3 is not installed")
    def test_real(self) -> None:
        """Two test against each other, in both protocols; who cannot be reached is said so, and JSON is kept."""
        for protocol, figure in (("tcp", "retransmits"), ("udp", "lost")):
            load = Iperf3(seconds=1.0, protocol=protocol)  # type: ignore[arg-type]  # one of the two
            one, other = self.running(load, 7.0), self.running(load, 1.0)
            self.assertIn("iperf 3", str(one.prepare()["program"]))
            port = int(other.prepare()["port"])
            one.meet([Peer("b", "127.0.0.1", port), Peer("c", "", 0, 0.5), Peer("d", "127.0.0.1", 1, 1.0)])
            other.meet([])
            with ThreadPoolExecutor() as threads:
                loads: Any = (one, other)
                outcome, answered = threads.map(lambda load: load.run(lambda: False, lambda *told: None), loads)
            self.assertGreater(float(outcome.pairs["b"]["rate"]), 0.0)
            self.assertIn(figure, outcome.pairs["b"])
            self.assertEqual(outcome.pairs["c"]["problem"], "it does not answer")
            self.assertIn("unable to connect", str(outcome.pairs["d"]["problem"]))
            self.assertEqual((outcome.figures["tests"], outcome.figures["unreached"]), (1, 2))
            self.assertEqual(outcome.figures["rate"], outcome.pairs["b"]["rate"])
            self.assertEqual(json.loads(outcome.output)["b"]["start"]["test_start"]["protocol"], protocol.upper())
            self.assertEqual((answered.figures["tests"], answered.output, "rate" in answered.figures), (0, "", False))

    @unittest.skipUnless(INSTALLED, "iperf3 is not installed")
    def test_stopped(self) -> None:
        """It ends early, and leaves no process behind."""
        one = self.running(Iperf3(seconds=600.0), 600.0)
        port = int(one.prepare()["port"])
        one.meet([Peer("a", "127.0.0.1", port)])
        told: list[float] = []
        outcome = one.run(lambda: len(told) > 1, lambda share, figures: told.append(share))
        self.assertIn("problem", outcome.pairs["a"])
        one.clean()
        for process in (one._client, one._server):
            assert process is not None
            self.assertIsNotNone(process.returncode)

    @unittest.skipUnless(INSTALLED, "iperf3 is not installed")
    def test_port_taken(self) -> None:
        """A port that is taken is said so."""
        one = self.running(Iperf3(), 1.0)
        other = Iperf3Running(Iperf3(), 1.0, ("127.0.0.1", int(one.prepare()["port"])), time.perf_counter)
        self.addCleanup(other.clean)
        with self.assertRaisesRegex(OSError, "Address already in use"):
            other.prepare()

    def test_output(self) -> None:
        """Of too much output the first pairs are kept."""
        one = self.running(Iperf3(), 1.0)
        self.patch(iperf3, "MAX_OUTPUT", 1_000)
        one._told = {"a": {"x": "y" * 500}, "b": {"x": "y" * 600}, "c": {"x": "y" * 100}}
        self.assertEqual(json.loads(one._output()).keys(), {"a"})
