"""A stage on which random faults befall everything, some at a time: which ones is up to a seed."""

import random
import tempfile
from itertools import islice
from pathlib import Path

from tests.integration.faults.fault import Target, drawn
from tests.integration.faults.lanes import run
from tests.integration.faults.stage import Stage
from tests.integration.faults.verdict import Verdict, verdict

AGENTS, LOAD = 6, 20

# In each lane: one for each agent, one for the collector, one for the store.
EACH = 7

FAULTS = (AGENTS + 2) * EACH


def play(seed: int, each: int = EACH) -> tuple[Stage, Verdict]:
    """A stage of its own, which has ended, and what it came to; `each` is the number of faults in a lane."""
    with tempfile.TemporaryDirectory(prefix="pm-") as folder:
        stage = Stage(Path(folder), AGENTS, LOAD, seed)
        try:
            targets = [(Target.AGENT, number) for number in range(AGENTS)]
            targets += [(Target.COLLECTOR, 0), (Target.STORE, 0)]
            run(
                stage,
                [
                    islice(drawn(random.Random(f"{seed} {target} {number}"), target, number), each)
                    for target, number in targets
                ],
            )
            return stage, verdict(stage)
        finally:
            stage.close()
