"""Counting: totals, rates over a sliding span, mean, largest and standard deviation."""

from collections import deque
from collections.abc import Iterable
from math import sqrt


class Rate:
    """How fast a total rises, over the last `span` s."""

    def __init__(self, span: float = 10.0) -> None:
        self._span = span
        self._marks: deque[tuple[float, int]] = deque()  # (s, total), oldest first

    def mark(self, now: float, total: int) -> None:
        """Notes that the total stood at `total` at `now` (s, monotonic)."""
        self._marks.append((now, total))
        while len(self._marks) > 2 and self._marks[1][0] <= now - self._span:
            self._marks.popleft()

    def per_second(self) -> float:
        """0.0 until there are two marks."""
        if len(self._marks) < 2:
            return 0.0
        (start, low), (stop, high) = self._marks[0], self._marks[-1]
        return (high - low) / (stop - start) if stop > start else 0.0


class Spread:
    """How many numbers came, their mean and the largest of them, since it was last cleared."""

    __slots__ = ("_total", "count", "largest")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.count = 0
        self._total = 0.0
        self.largest: float | None = None  # None while there is none

    def add(self, number: float) -> None:
        self.count += 1
        self._total += number
        self.largest = number if self.largest is None else max(self.largest, number)

    @property
    def mean(self) -> float | None:
        """None while there is none."""
        return self._total / self.count if self.count else None


def mean_and_deviation(values: Iterable[float]) -> tuple[float, float]:
    """Mean and standard deviation (of the whole, not of a sample of it); (0, 0) for no values."""
    numbers = list(values)
    if not numbers:
        return 0.0, 0.0
    mean = sum(numbers) / len(numbers)
    return mean, sqrt(sum((number - mean) ** 2 for number in numbers) / len(numbers))
