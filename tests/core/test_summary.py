"""Tests for `perfmon.core.summary`."""

from collections.abc import Sequence
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.summary import Summary
from perfmon.core.tally import Tally


def summary(per_agent: Sequence[int] = (3, 5), **counts: Any) -> Summary:
    """Of two agents of 10 metrics each, after 4 s."""
    tally = Tally(**({"most_connected": 2} | counts))
    tally.latencies.add(0.25)
    return Summary(tally, 2, 10, 20.0, 4.0, per_agent, connected=1)


class SummaryTests(SynchronousTestCase):
    def test_figures(self) -> None:
        """Every figure stands in its line."""
        text = summary(sampled=10, sent=10, acknowledged=8, repeated=3, refused=1, left_out=4, wrong_acks=1).text()
        self.assertEqual(
            text,
            "agents       2, connected: 2 at most, 1 at the end\n"
            "rounds       10 sent, 8 acknowledged, 3 repeated, 1 refused, 1 unacknowledged, 4 left out\n"
            "samples      100 sent, 80 acknowledged, 30 repeated, 10 refused, 10 unacknowledged, 40 left out\n"
            "wrong acks   1\n"
            "seconds      4.00\n"
            "throughput   20.0 samples/s acknowledged (20.0 asked for)\n"
            "per agent    10.00 samples/s acknowledged on average, standard deviation 2.50\n"
            "ack latency  mean 250.00 ms, p50 250.03 ms, p99 250.03 ms\n"
            "result       1 rounds were not acknowledged, 1 rounds were refused, 1 acknowledgements were wrong\n",
        )

    def test_graphite(self) -> None:
        """What has no acknowledgements tells what was sent."""
        text = summary((), sampled=10, sent=8, lost=1, most_connected=4, left_out=2).text()
        self.assertEqual(
            text,
            "connections  4 at most, 1 at the end, 1 lost\n"
            "rounds       8 sent, 2 unsent, 2 left out\n"
            "samples      80 sent, 20 unsent, 20 left out\n"
            "seconds      4.00\n"
            "throughput   20.0 samples/s sent; Graphite acknowledges nothing (20.0 asked for)\n"
            "result       2 rounds were not sent, 1 connections were lost with lines that nobody acknowledges\n",
        )

    def test_problems(self) -> None:
        """What is not as it should be is a problem; what was repeated or left out is not."""
        good: dict[str, Any] = {"sampled": 8, "sent": 8, "acknowledged": 8, "repeated": 3, "left_out": 2, "lost": 1}
        self.assertIsNone(summary(**good).problem)
        self.assertIn("all went well", summary(**good).text())
        for changed, sentence in (
            ({"acknowledged": 7}, "1 rounds were not acknowledged"),
            ({"sampled": 9}, "1 rounds were not acknowledged"),
            ({"refused": 1, "acknowledged": 7}, "1 rounds were refused"),
            ({"wrong_acks": 2}, "2 acknowledgements were wrong"),
            ({"most_connected": 0}, "no connection was ever made"),
        ):
            self.assertEqual(summary(**(good | changed)).problem, sentence)
        self.assertIsNone(summary((), sampled=8, sent=8).problem)
