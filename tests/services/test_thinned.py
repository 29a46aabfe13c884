"""Tests for `perfmon.services.thinned`."""

from twisted.logger import LogEvent, Logger, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from perfmon.services.thinned import Thinned


class ThinnedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.events: list[LogEvent] = []
        self.voice = Logger(observer=Thinned(self.events.append))  # type: ignore[arg-type]  # as good as an observer

    @property
    def texts(self) -> list[str]:
        return [formatEvent(event) for event in self.events]

    def test_doublings(self) -> None:
        """The first of a kind is told as it is, then the second, fourth, eighth … with how many there were before."""
        for number in range(1, 10):
            self.voice.warn("{host} is away", host=f"web{number}")
        self.assertEqual(
            self.texts,
            [
                "web1 is away",
                "web2 is away (and 1 like it before)",
                "web4 is away (and 3 like it before)",
                "web8 is away (and 7 like it before)",
            ],
        )

    def test_kinds(self) -> None:
        """Each kind is counted by itself, and what is no warning is not told."""
        self.voice.warn("one")
        self.voice.info("connected")
        self.voice.error("another")
        self.voice.debug("detail")
        self.assertEqual(self.texts, ["one", "another"])

    def test_failure(self) -> None:
        """A failure is passed on with its traceback."""
        try:
            raise ZeroDivisionError
        except ZeroDivisionError:
            self.voice.failure("broken")
        self.assertIn("log_failure", self.events[0])
