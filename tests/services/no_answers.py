"""A collector that answers no echo benchmarks."""

from collections.abc import Callable

from perfmon.core.benchmarks import Spec


class NoAnswers:
    def open(self, spec: Spec, ready: Callable[[int], None]) -> None:
        raise AssertionError("nobody asks for it")

    def close(self, id: str) -> None: ...
