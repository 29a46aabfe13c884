"""A collector's own figures in memory: all that they are taken from, at a time of the test's own."""

import struct
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from perfmon.core.numbering import Row
from perfmon.services.commits import Commits
from perfmon.services.ingest import Ingest
from perfmon.services.looplag import LoopLag
from perfmon.services.own_metrics import OwnMetrics
from perfmon.services.refusals import Refusals
from tests.services.recording import ControlledAppends

NOW = 1_800_000_000.0


class StoreFacts:
    """A store's INFO, answered at once or, if the test says so, when it says so."""

    def __init__(self) -> None:
        self.problem: str | None = None
        self.facts = {"used_memory": "1563408"}
        self.answer: Deferred[dict[str, str]] | None = None  # set: what is given in place of the facts
        self.asked = 0

    async def information(self) -> dict[str, str]:
        self.asked += 1
        return await (self.answer or succeed(self.facts))


class OwnFigures:
    """Everything around `OwnMetrics`. Its ingest listens to nobody but the test."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.appends = ControlledAppends()
        self.ingest = Ingest(self.appends, self.clock, lambda: NOW + self.clock.seconds())
        self.commits = Commits(self.clock.seconds)
        self.ingest.listen(self.commits)
        self.refusals = Refusals(self.clock.seconds)
        self.port: Any = SimpleNamespace(agents={}, connections=set())
        self.behind = 0.0  # s, how late the reactor is
        self.lag = LoopLag(self.clock, lambda: self.clock.seconds() + self.behind)
        self.store = StoreFacts()
        self.sealing = SimpleNamespace(sealed=0)
        self.metrics = OwnMetrics(
            self.store, self.ingest, self.commits, self.sealing, self.refusals, self.port, self.lag, self.clock
        )

    def add(self, samples: int) -> None:
        """Takes in one round of so many samples."""
        log, first = self.ingest.numbering.schema("web1", [f"m{number}" for number in range(samples)])
        time = round((NOW + self.clock.seconds()) * 1000)
        self.ingest.add_row(Row(log, first, time, struct.pack(f"<{samples}d", *[1.0] * samples)))

    def commit(self, samples: int, seconds: float) -> None:
        """Takes in so many samples, which the store confirms after so long."""
        self.add(samples)
        self.clock.advance(0)
        self.clock.advance(seconds)
        self.appends.confirm()

    def sample(self) -> dict[str, float]:
        """One round, without the beginning that all names share."""
        read: list[Any] = []
        self.metrics.sample().addCallback(read.append)
        ((values, failures),) = read
        assert not failures
        assert all(name.startswith("perfmon.collector.") for name in values)
        return {name.removeprefix("perfmon.collector."): value for name, value in values.items()}


def own_figures() -> list[str]:
    """The metrics of a collector that knows everything of itself."""
    own = OwnFigures()
    own.lag.startService()
    own.clock.advance(1)
    own.sample()
    own.commit(3, 0.5)
    own.clock.advance(1)
    own.lag.stopService()
    return [f"perfmon.collector.{name}" for name in own.sample()]
