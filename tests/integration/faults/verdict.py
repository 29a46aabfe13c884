"""What a run came to: everything that was sent against everything that the collector tells."""

import time
from dataclasses import dataclass, field, fields
from statistics import quantiles
from typing import TypeVar

from tests.integration.faults.departures import Departures, Named, judged
from tests.integration.faults.proof import Proof, prove, stored_rounds
from tests.integration.faults.stage import TIMEOUT, Stage
from tests.integration.harness import eventually

_T = TypeVar("_T", Proof, Departures)

# Everything that was sent is to be stored so long after the last fault. A store that was silent is given up after 10 s,
# and agents try again every 15 s at most.
SETTLED = 60.0  # s

# What was sampled so shortly before the end may be under way.
_UNDER_WAY = 2.0  # s


@dataclass(slots=True)
class Verdict:
    """The counts, and what is wrong."""

    proof: Proof = field(default_factory=Proof)
    departures: Departures = field(default_factory=Departures)
    wrong: list[str] = field(default_factory=list)

    def __add__(self, other: "Verdict") -> "Verdict":
        return Verdict(
            _added(self.proof, other.proof), _added(self.departures, other.departures), self.wrong + other.wrong
        )

    def text(self) -> str:
        """The counts, a line for each subject."""
        proof, gone = self.proof, self.departures
        delays = sorted(gone.delays)
        p99 = quantiles(delays, n=100)[-1] if len(delays) > 1 else max(delays, default=0.0)
        lines = {
            "rounds": f"{proof.sent} sent, {proof.again} lines of them once more; {proof.stored} stored, "
            f"{proof.lost} lost, {proof.altered} altered, {proof.doubled} doubled, {proof.foreign} never sent, "
            f"{proof.refused} refused",
            "departures": f"{gone.expected} expected, {gone.named} named, {len(gone.false)} false, "
            f"{len(gone.late)} late, {len(gone.doubled)} named twice",
            "named": f"{max(delays, default=0.0):.2f} s after the timeout at most, p99 {p99:.2f} s; of "
            f"{len(delays)} that no fault of the collector or the store has delayed",
        }
        return "\n".join(
            [*(f"{name:12}{figures}" for name, figures in lines.items()), *(f"wrong       {one}" for one in self.wrong)]
        )


def _added(one: _T, other: _T) -> _T:
    """The sum of each field."""
    names = [each.name for each in fields(one)]
    return type(one)(**{name: getattr(one, name) + getattr(other, name) for name in names})


def verdict(stage: Stage) -> Verdict:
    """Waits until all is stored that was sent up to now, and compares; what is not stored in time is lost."""
    end = time.time()
    stage.collector.ready()
    # The witness has seen what was sampled up to now, once so much time has passed.
    eventually(lambda: time.time() > end + _UNDER_WAY, "the last rounds")

    def look() -> Proof | None:
        proof = prove(stage.collector, stage.ledger, stage.begun, end)
        return proof if not proof.lost or time.time() > end + SETTLED else None

    proof = eventually(look, "the end of the comparison", 3 * SETTLED)
    departures = judged(stage.ledger.copy(), _named(stage), stage.blinds, TIMEOUT, time.time() - _UNDER_WAY)
    wrong = [*proof.wrong, *departures.wrong, *stage.ledger.contradictions, *_posted(stage)]
    return Verdict(proof, departures, wrong)


def _named(stage: Stage) -> list[Named]:
    """All departures that the API tells of."""
    found: list[Named] = []
    since = repr(stage.begun)
    while events := stage.collector.get("/api/v1/events", limit="1000", since=since)["events"]:
        since = events[-1]["id"]
        found += [
            Named(host, event["at"], int(event["id"].partition("-")[0]) / 1000)
            for event in events
            if event["kind"] == "departed"
            for host in event["hosts"]
        ]
    return found


def _posted(stage: Stage) -> list[str]:
    """What is wrong with what the posters have sent; they end."""
    wrong = []
    for poster in (stage.http, stage.graphite):
        poster.stop()
        found, twice = stored_rounds(stage.collector, poster.name, stage.begun, time.time())
        must, may = poster.host.rounds, poster.perhaps
        lost = [moment for moment, values in must.items() if found.get(moment) != values]
        foreign = [moment for moment, values in found.items() if not values.items() <= may.get(moment, {}).items()]
        for kind, times in (("lost", lost), ("stored twice", twice), ("never sent", foreign)):
            if times:
                wrong.append(f"{poster.name}: {len(times)} posts {kind}: {sorted(times)[:5]}")
    return wrong
