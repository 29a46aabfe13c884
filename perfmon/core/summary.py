"""What a simulation came to, for people and for scripts: every figure in its line, and whether all went well."""

from collections.abc import Sequence
from dataclasses import dataclass

from perfmon.core.stats import mean_and_deviation
from perfmon.core.tally import Tally


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of a simulation that has ended."""

    tally: Tally
    agents: int
    metrics: int  # of each agent
    asked: float  # samples/s over all agents
    seconds: float  # from the start to when nothing was waited for any more
    acknowledged: Sequence[int]  # rounds of each agent; empty where nothing is acknowledged
    connected: int  # at the end

    @property
    def problem(self) -> str | None:
        """What did not go well, None if all did."""
        tally = self.tally
        if self.acknowledged:
            found = {
                "rounds were not acknowledged": tally.unacknowledged,
                "rounds were refused": tally.refused,
                "acknowledgements were wrong": tally.wrong_acks,
            }
        else:
            found = {
                "rounds were not sent": tally.sampled - tally.sent,
                "connections were lost with lines that nobody acknowledges": tally.lost,
            }
        problems = [f"{number} {what}" for what, number in found.items() if number]
        if not tally.most_connected:
            problems.append("no connection was ever made")
        return ", ".join(problems) or None

    def text(self) -> str:
        """The figures, a line for each subject."""
        lines = self._protocol() if self.acknowledged else self._graphite()
        lines["result"] = self.problem or "all went well"
        return "".join(f"{name:<12} {figures}\n" for name, figures in lines.items())

    def _protocol(self) -> dict[str, str]:
        tally, latencies = self.tally, self.tally.latencies
        mean, deviation = mean_and_deviation(rounds * self.metrics / self.seconds for rounds in self.acknowledged)
        return {
            "agents": f"{self.agents}, connected: {tally.most_connected} at most, {self.connected} at the end",
            "rounds": self._counts(1),
            "samples": self._counts(self.metrics),
            "wrong acks": f"{tally.wrong_acks}",
            "seconds": f"{self.seconds:.2f}",
            "throughput": self._throughput(tally.acknowledged, "acknowledged"),
            "per agent": f"{mean:.2f} samples/s acknowledged on average, standard deviation {deviation:.2f}",
            "ack latency": f"mean {1000 * latencies.mean:.2f} ms, "
            f"p50 {1000 * latencies.quantile(0.5):.2f} ms, p99 {1000 * latencies.quantile(0.99):.2f} ms",
        }

    def _graphite(self) -> dict[str, str]:
        """Without acknowledgements there is less to tell."""
        tally = self.tally
        counts = {"sent": tally.sent, "unsent": tally.sampled - tally.sent, "left out": tally.left_out}
        return {
            "connections": f"{tally.most_connected} at most, {self.connected} at the end, {tally.lost} lost",
            "rounds": _listed(counts, 1),
            "samples": _listed(counts, self.metrics),
            "seconds": f"{self.seconds:.2f}",
            "throughput": self._throughput(tally.sent, "sent; Graphite acknowledges nothing"),
        }

    def _counts(self, times: int) -> str:
        tally = self.tally
        counts = {
            "sent": tally.sent,
            "acknowledged": tally.acknowledged,
            "repeated": tally.repeated,
            "refused": tally.refused,
            "unacknowledged": tally.unacknowledged,
            "left out": tally.left_out,
        }
        return _listed(counts, times)

    def _throughput(self, rounds: int, what: str) -> str:
        return f"{rounds * self.metrics / self.seconds:.1f} samples/s {what} ({self.asked:.1f} asked for)"


def _listed(counts: dict[str, int], times: int) -> str:
    return ", ".join(f"{number * times} {what}" for what, number in counts.items())
