"""How large commits are and how long they take, for everybody who asks about a time of his own."""

from collections.abc import Callable

from perfmon.core.stats import Spread


class CommitFigures:
    """Commits since these figures were last cleared."""

    def __init__(self, commits: "Commits") -> None:
        self._commits = commits
        self.samples = Spread()
        self.seconds = Spread()

    @property
    def longest(self) -> float | None:
        """Seconds that the longest took, or takes by now: one that the store does not answer would hide otherwise."""
        return max((each for each in (self.seconds.largest, self._commits.under_way) if each is not None), default=None)

    def clear(self) -> None:
        self.samples.clear()
        self.seconds.clear()


class Commits:
    """Listens to the ingest. A commit takes from its first write until the store has confirmed all of it."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._since: float | None = None
        self._figures: list[CommitFigures] = []

    def figures(self) -> CommitFigures:
        """Figures that count from now on, for one asker."""
        figures = CommitFigures(self)
        self._figures.append(figures)
        return figures

    @property
    def under_way(self) -> float | None:
        """Seconds that the one under way has taken so far, None while there is none."""
        return None if self._since is None else self._monotonic() - self._since

    # -- what the ingest calls

    def begun(self) -> None:
        self._since = self._monotonic()

    def ended(self, samples: int | None) -> None:
        took, self._since = self.under_way, None
        if took is not None and samples is not None:
            for figures in self._figures:
                figures.samples.add(samples)
                figures.seconds.add(took)
