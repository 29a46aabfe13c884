"""The collector's own end of echo benchmarks: a process of its own that answers, so that nothing else waits for it."""

from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.logger import Logger

from perfmon.core.benchmarks import Spec
from perfmon.core.loads import MAX_SECONDS, Task
from perfmon.core.pairs import COLLECTOR
from perfmon.services.load_process import LoadProcess, Spawner

# The process ends by itself so long after its run should have, whatever becomes of the collector.
SPARE = 60.0  # s


class Answering(Service):
    """A service: a process for each run in which hosts send to the collector."""

    _log = Logger()

    def __init__(self, address: str, port: int, reactor: Spawner, wall: Callable[[], float]) -> None:
        """It answers on this address and port (0: any; otherwise one run at a time); `wall` is in s since the epoch."""
        self._address = address
        self._port = port
        self._reactor = reactor
        self._wall = wall
        self._processes: dict[str, LoadProcess] = {}

    def stopService(self) -> None:
        super().stopService()
        for id in list(self._processes):
            self.close(id)

    def open(self, spec: Spec, ready: Callable[[int], None]) -> None:
        """Begins to answer; `ready` gets the port."""
        if spec.id in self._processes:
            return
        seconds = min(MAX_SECONDS, max(1.0, spec.start - self._wall()) + spec.seconds + SPARE)
        task = Task(
            kind="echo",
            parameters={"seconds": seconds, "to": COLLECTOR},
            run=spec.id,
            host=COLLECTOR,
            seconds=seconds,
            address=self._address,
            port=self._port,
        )

        def said(told: dict[str, Any]) -> None:
            if told["type"] == "ready":
                process.meet([])
                process.go()
                ready(told["figures"]["port"])
            elif told["type"] in ("failed", "refused"):
                self._log.warn("benchmark {id} is not answered: {why}", id=spec.id, why=told["reason"])

        process = self._processes[spec.id] = LoadProcess(task, said, lambda why: self.close(spec.id))
        try:
            process.start(self._reactor)
        except OSError as problem:
            del self._processes[spec.id]
            self._log.warn("benchmark {id} is not answered: {why}", id=spec.id, why=problem)

    def close(self, id: str) -> None:
        """Nobody sends any more."""
        process = self._processes.pop(id, None)
        if process is not None:
            process.hang_up()
