"""Benchmarks between real agents: who meets whom, what is wrong on the way, and who it is laid to."""

import contextlib
import os
import shutil
import signal
import socket
import threading
import unittest
from itertools import pairwise, permutations
from typing import Any

from tests.integration.benchmark_case import HOSTS, BenchmarkCase
from tests.integration.harness import eventually

ECHO = {"seconds": 2.0, "rate": 20.0, "pairs": "all"}


class Tampering:
    """Passes on what comes to its `port`, and changes one byte of what one host sends."""

    def __init__(self, to: int, sender: str) -> None:
        self._to = to
        self._sender = f" {sender}\n".encode()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.changed = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                here, _ = self._listening.accept()
                there = socket.create_connection(("127.0.0.1", self._to))
                for way in ((here, there, True), (there, here, False)):
                    threading.Thread(target=self._pass_on, args=way, daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, up: bool) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if up and passed == 0:
                    up = self._sender in data[:200]
                passed += len(data)
                if up and passed > 50_000:
                    data, up = bytes([data[0] ^ 1]) + data[1:], False
                    self.changed += 1
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._listening.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


class NetworkTests(BenchmarkCase):
    def pairs(self, run: Any, figure: str) -> dict[tuple[str, str], Any]:
        """This figure of every pair, (who sends, who answers)."""
        return {
            (host, peer): figures.get(figure)
            for host, at in run["hosts"].items()
            for peer, figures in at["pairs"].items()
        }

    def test_all_pairs(self) -> None:
        """Each sends to each other one, and all answers are right; the command line shows it as a table."""
        run = self.over(self.begin("echo", ECHO), "done")
        self.assertEqual(self.pairs(run, "mismatches"), dict.fromkeys(permutations(HOSTS, 2), 0))
        self.assertEqual(set(self.pairs(run, "unanswered").values()), {0})
        for at in run["hosts"].values():
            self.assertEqual(at["figures"]["messages"], sum(pair["messages"] for pair in at["pairs"].values()))
            self.assertEqual(at["figures"]["bytes"], 8_192 * at["figures"]["messages"])
        sent, answered = [sum(at["figures"][name] for at in run["hosts"].values()) for name in ("messages", "answers")]
        self.assertEqual(sent, answered)
        shown = self.perfmon("bench", "show", run["id"])
        self.assertRegex(shown, r"from / to +web1 +web2 +web3 +web4")
        self.assertRegex(shown, r"\n +web1 {7,}[\d.]+ ms +[\d.]+ ms +[\d.]+ ms")

    def test_corrupted(self) -> None:
        """A byte that is changed on the way from one host to another is caught, and laid to that pair alone."""
        own = free_port()
        tampering = Tampering(own, "web2")
        self.addCleanup(tampering.close)
        address = f"127.0.0.1:{tampering.port}"
        self.again("web3", "--benchmark-port", str(own), "--benchmark-address", address)
        run = self.over(self.begin("echo", ECHO), "done")
        self.assertEqual(tampering.changed, 1)
        expected = dict.fromkeys(permutations(HOSTS, 2), 0) | {("web2", "web3"): 1}
        self.assertEqual(self.pairs(run, "mismatches"), expected)
        self.assertEqual(
            {host: at["figures"]["mismatches"] for host, at in run["hosts"].items() if host == "web2"}, {"web2": 1}
        )
        self.assertRegex(self.perfmon("bench", "show", run["id"]), r"web2 +[\d.]+ ms +1 wrong +[\d.]+ ms")

    def test_collector(self) -> None:
        """Without more words all send to the collector's machine."""
        shown = self.perfmon("bench", "echo", "--on", "web*", "--seconds", "1", "--size", "64KiB")
        self.assertRegex(shown, r"web4 +done .* 10 +0 +0")
        run = self.told(self.monitor.get("/api/v1/benchmarks")["benchmarks"][0]["id"])
        self.assertEqual(self.pairs(run, "mismatches"), {(host, "collector"): 0 for host in HOSTS})

    def test_unreached(self) -> None:
        """A host that is not to be reached where it says is a problem of its pairs, with the reason."""
        address = f"127.0.0.1:{free_port()}"
        self.again("web4", "--benchmark-address", address)
        run = self.over(self.begin("echo", {"seconds": 1.0, "pairs": "ring"}), "done")
        problems = {pair: problem for pair, problem in self.pairs(run, "problem").items() if problem}
        self.assertEqual(problems.keys(), {("web3", "web4")})
        self.assertIn(address.partition(":")[2], problems["web3", "web4"])

    def test_killed(self) -> None:
        """A load that is killed in the middle has failed, the others say what is missing, and the run is partial."""
        id = self.begin("echo", {**ECHO, "seconds": 8.0})
        self.begun(id, *HOSTS)
        self.child("web2").kill()
        run = self.over(id, "partial")
        self.assertEqual(run["counts"], {"done": 3, "failed": 1})
        problems = self.pairs(run, "problem")
        self.assertEqual(
            {pair for pair, problem in problems.items() if problem},
            {(host, "web2") for host in ("web1", "web3", "web4")},
        )

    def test_collector_restarted(self) -> None:
        """A collector that is killed once all know whom to meet, or before, and is started anew, has the same run."""
        id = self.begin("echo", ECHO, lead=6.0)
        hosts = self.told(id)["hosts"]
        eventually(lambda: any(self.told(id)["hosts"][host]["expected"] for host in hosts), "one to be ready")
        self.monitor.signal(signal.SIGKILL)
        self.monitor.ended()
        again = ("--no-self", "--heartbeat-timeout", "3s", "--port", str(self.monitor.port))
        self.monitor = self.collector(*again).ready()
        run = self.over(id, "done")
        self.assertEqual(self.pairs(run, "problem"), dict.fromkeys(permutations(HOSTS, 2)))
        self.assertEqual(set(self.pairs(run, "mismatches").values()), {0})

    @unittest.skipUnless(shutil.which("iperf3") or os.environ.get("CI"), "iperf3 is not installed")
    def test_iperf3(self) -> None:
        """All pairs are tested, none while another asks the same server; the JSON is kept, and shown."""
        run = self.over(self.begin("iperf3", {"seconds": 1.0, "pairs": "all"}), "done")
        self.assertEqual(run["seconds"], 12.0)
        self.assertEqual(self.pairs(run, "problem"), dict.fromkeys(permutations(HOSTS, 2)))
        output = self.monitor.get(f"/api/v1/benchmarks/{run['id']}/output", host="web1")
        self.assertEqual(output.keys(), set(HOSTS) - {"web1"})
        came = {peer: told["end"]["sum_received"]["bytes"] for peer, told in output.items()}
        self.assertEqual(came, {peer: pair["bytes"] for peer, pair in run["hosts"]["web1"]["pairs"].items()})
        self.assertIn('"sum_received"', self.perfmon("bench", "show", run["id"], "--output", "web1"))
        spans: dict[str, list[int]] = {}
        for host in HOSTS:
            told = self.monitor.get(f"/api/v1/benchmarks/{run['id']}/output", host=host)
            for peer, test in told.items():
                spans.setdefault(peer, []).append(test["start"]["timestamp"]["timesecs"])
        for begun in spans.values():
            begun.sort()
            self.assertTrue(all(later - earlier >= 2 for earlier, later in pairwise(begun)), spans)
