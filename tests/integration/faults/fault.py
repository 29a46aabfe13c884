"""The faults: what befalls what, and for how long."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class Target(StrEnum):
    """What a fault befalls; the network faults befall its links."""

    AGENT = "agent"
    COLLECTOR = "collector"
    STORE = "store"


class Kind(StrEnum):
    """What happens."""

    KILL = "kill"  # -9, and started again
    FREEZE = "freeze"  # SIGSTOP, and CONT
    RESTART = "restart"  # SIGTERM, and started again
    CUT = "cut"  # of the network: nothing passes
    RESET = "reset"  # of the connection, in the middle of a line
    SLOW = "slow"  # link


@dataclass(frozen=True, slots=True)
class Fault:
    target: Target
    kind: Kind
    hold: float  # s until it is over
    agent: int = 0  # number of the agent

    def __str__(self) -> str:
        which = f" {self.agent}" if self.target is Target.AGENT else ""
        return f"{self.target}{which}: {self.kind} for {self.hold:.1f} s"


def drawn(draw: random.Random, target: Target, agent: int = 0) -> Iterator[tuple[float, Fault]]:
    """Faults of one target without end, and before each the pause (s)."""
    kinds = list(Kind)
    while True:
        # most are short; some outlast the heartbeat timeout, few the time for which a store is waited for
        hold = draw.choice((0.3, 1.0, 3.0)) * draw.uniform(0.5, 1.5)
        if draw.random() < 0.05:
            hold *= 3
        yield draw.uniform(0.3, 2.0), Fault(target, draw.choice(kinds), hold, agent)
