"""Faults in several lanes at once: in each lane one after the other."""

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from tests.integration.faults.fault import Fault
from tests.integration.faults.stage import Stage

Lane = Iterable[tuple[float, Fault]]  # before each the pause (s)


def run(stage: Stage, lanes: Sequence[Lane]) -> None:
    """Returns when all lanes are at their end; raises what went wrong in one of them."""

    def one(lane: Lane) -> None:
        for pause, fault in lane:
            time.sleep(pause)  # the time between two faults
            stage.inflict(fault)

    with ThreadPoolExecutor(len(lanes)) as threads:
        for ended in [threads.submit(one, lane) for lane in lanes]:
            ended.result()
