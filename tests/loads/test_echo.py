"""Tests for `perfmon.loads.echo`: several loads in one process, over real sockets."""

import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.echo import DIGEST, greeting
from perfmon.core.loads import Echo
from perfmon.core.messages import Peer
from perfmon.loads.echo import EchoRunning
from perfmon.loads.running import Outcome

RUN = "3f0c2a91b7de"


class EchoRunningTests(SynchronousTestCase):
    def prepared(self, host: str, load: Echo) -> tuple[EchoRunning, int]:
        """A load that answers, and its port."""
        running = EchoRunning(load, RUN, host, ("127.0.0.1", 0), time.perf_counter)
        self.addCleanup(running.clean)
        return running, int(running.prepare()["port"])

    def run_all(self, *loads: EchoRunning, stopped: Callable[[], bool] = lambda: False) -> list[Outcome]:
        with ThreadPoolExecutor() as threads:
            return list(threads.map(lambda load: load.run(stopped, lambda share, figures: None), loads))

    def test_both_ways(self) -> None:
        """Two send to each other at the rate that was asked for, and each answer is right."""
        load = Echo(seconds=1.0, rate=50.0, size=20_000)
        (one, port), (other, other_port) = self.prepared("a", load), self.prepared("b", load)
        one.meet([Peer("b", "127.0.0.1", other_port)])
        other.meet([Peer("a", "127.0.0.1", port)])
        for outcome, peer in zip(self.run_all(one, other), "ba", strict=True):
            figures = outcome.figures
            self.assertGreater(int(figures["messages"]), 10)
            self.assertLessEqual(int(figures["messages"]), 51)
            for name, expected in (("mismatches", 0), ("unanswered", 0), ("unreached", 0)):
                self.assertEqual(figures[name], expected, name)
            self.assertEqual(figures["bytes"], 20_000 * int(figures["messages"]))
            self.assertGreater(float(figures["p50"]), 0.0)
            self.assertLessEqual(float(figures["p50"]), float(figures["longest"]) * 1.02)
            self.assertEqual(outcome.pairs.keys(), {peer})
            self.assertEqual(outcome.pairs[peer]["messages"], figures["messages"])

    def test_only_answers(self) -> None:
        """Who has nobody to send to answers for as long as the run lasts, and says how many."""
        load = Echo(seconds=1.0, rate=100.0)
        (one, _), (other, port) = self.prepared("a", load), self.prepared("b", load)
        one.meet([Peer("b", "127.0.0.1", port)])
        other.meet([])
        sent, answered = self.run_all(one, other)
        self.assertEqual(answered.figures["answers"], sent.figures["messages"])
        self.assertNotIn("rate", answered.figures)
        self.assertEqual(answered.pairs, {})

    def test_unreached(self) -> None:
        """Who cannot be reached, or was never ready, is said with the reason, and the others are met all the same."""
        load = Echo(seconds=1.0, rate=20.0)
        (one, _), (other, port) = self.prepared("a", load), self.prepared("b", load)
        with socket.create_server(("127.0.0.1", 0)) as closed:
            nobody = closed.getsockname()[1]
        one.meet([Peer("b", "127.0.0.1", port), Peer("c", "127.0.0.1", nobody), Peer("d", "", 0)])
        other.meet([])
        pairs = self.run_all(one, other)[0].pairs
        self.assertNotIn("problem", pairs["b"])
        self.assertIn(f"127.0.0.1 port {nobody}", str(pairs["c"]["problem"]))
        self.assertEqual(pairs["d"]["problem"], "it does not answer")
        self.assertEqual((pairs["d"]["messages"], "p50" in pairs["d"]), (0, False))

    def test_ended_early(self) -> None:
        """A peer that goes in the middle is a problem of its pair."""
        load = Echo(seconds=1.0, rate=100.0)
        one, _ = self.prepared("a", load)
        with socket.create_server(("127.0.0.1", 0)) as listening:

            def go_away() -> None:
                peer, _ = listening.accept()
                peer.recv(1_000)
                peer.close()

            leaving = threading.Thread(target=go_away)
            leaving.start()
            one.meet([Peer("b", "127.0.0.1", listening.getsockname()[1])])
            (outcome,) = self.run_all(one)
            leaving.join()
        self.assertIn("ended early", str(outcome.pairs["b"]["problem"]))
        self.assertGreater(int(outcome.figures["unanswered"]), 0)

    def test_strangers(self) -> None:
        """Who does not name the run is not answered; who does is."""
        _, port = self.prepared("a", Echo())
        for line, answer in ((greeting("another", 8, "x"), 0), (greeting(RUN, 8, "x"), DIGEST)):
            with socket.create_connection(("127.0.0.1", port), timeout=30) as stranger:
                stranger.sendall(line + bytes(8))
                stranger.shutdown(socket.SHUT_WR)
                try:
                    self.assertEqual(len(stranger.recv(1_000)), answer)
                except ConnectionResetError:
                    self.assertEqual(answer, 0)

    def test_stopped(self) -> None:
        """It ends when it is told to, with what it has."""
        one, port = self.prepared("a", Echo(seconds=1_000.0, rate=100.0))
        one.meet([Peer("a", "127.0.0.1", port)])
        begun = time.monotonic()
        told: list[int] = []
        outcome = one.run(lambda: len(told) > 1, lambda share, figures: told.append(int(figures["messages"])))
        self.assertLess(time.monotonic() - begun, 900)
        self.assertGreaterEqual(int(outcome.figures["messages"]), told[-1])
