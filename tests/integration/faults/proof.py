"""What was sent, round by round and value by value, against what the API returns."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.integration.faults.ledger import Ledger, Values
from tests.integration.harness import Collector

# Sentences of one kind that are kept; the counts are of all.
_SHOWN = 5

# Metrics asked for at once: an answer has a million points at most.
_RANGE = 900.0  # s


@dataclass(slots=True)
class Proof:
    """What came out, in rounds."""

    sent: int = 0  # different ones
    again: int = 0  # of them lines that came once more
    acknowledged: int = 0
    stored: int = 0
    lost: int = 0
    altered: int = 0
    doubled: int = 0
    foreign: int = 0  # stored, and never sent
    refused: int = 0
    wrong: list[str] = field(default_factory=list)

    def note(self, kind: str, host: str, times: Iterable[int]) -> int:
        """Puts down rounds that are wrong; returns how many."""
        found = sorted(times)
        if found:
            shown = ", ".join(f"{time / 1000:.3f}" for time in found[:_SHOWN])
            self.wrong.append(f"{host}: {len(found)} rounds {kind}: {shown}{', …' if len(found) > _SHOWN else ''}")
        return len(found)


def stored_rounds(collector: Collector, host: str, begin: float, end: float) -> tuple[dict[int, Values], set[int]]:
    """All rounds of `host` that the API has, by their time (ms), and the times that a series has more than once."""
    rounds: dict[int, Values] = {}
    twice: set[int] = set()
    start = begin
    while start < end:
        stop = min(end, start + _RANGE)
        found = collector.get("/api/v1/query", host=host, metric="*", from_=repr(start), until=repr(stop))
        for series in found["series"]:
            for time, value in zip(series["times"], series["values"], strict=True):
                values = rounds.setdefault(round(time * 1000), {})
                if series["metric"] in values:
                    twice.add(round(time * 1000))
                values[series["metric"]] = value
        start = stop
    return rounds, twice


def prove(collector: Collector, ledger: Ledger, begin: float, end: float) -> Proof:
    """Compares the rounds of all hosts that were sampled from `begin` up to `end` (s since the epoch)."""
    proof = Proof()
    first, last = round(begin * 1000), round(end * 1000)  # as the API does
    # The API first: what comes in between is sent and not yet seen there, never the other way round.
    stored = {name: stored_rounds(collector, name, begin, end) for name in ledger.copy()}
    for name, host in ledger.copy().items():
        found, twice = stored.get(name, ({}, set()))
        within = {time: values for time, values in host.rounds.items() if first <= time < last}
        refused = within.keys() & host.refused.keys() - found.keys()
        due = within.keys() - refused
        there = due & found.keys()
        spooled = host.expected - host.refused.keys()
        altered = [time for time in there if found[time] != within[time]]
        proof.sent += len(within)
        proof.again += host.seen - len(host.rounds)
        proof.acknowledged += len(host.acknowledged & within.keys())
        proof.refused += len(refused)
        proof.stored += len(there)
        proof.lost += proof.note("lost", name, (due | spooled) - found.keys())
        proof.altered += proof.note("altered", name, altered)
        proof.doubled += proof.note("stored twice", name, twice)
        proof.foreign += proof.note("stored that were never sent", name, found.keys() - within.keys())
        proof.note("lost though acknowledged", name, host.acknowledged & due - found.keys())
    return proof
