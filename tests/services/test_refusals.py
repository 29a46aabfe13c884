"""Tests for `perfmon.services.refusals`."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.reject import BAD_LINE, FUTURE, Rejected
from perfmon.services.refusals import LOG_INTERVAL, Refusals
from tests.logs import logged


class RefusalsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.refusals = Refusals(self.clock.seconds)

    def test_counts(self) -> None:
        """Everything refused is counted by its reason."""
        self.refusals.note([Rejected(BAD_LINE, "x"), Rejected(FUTURE, "y"), Rejected(BAD_LINE, "z")], "peer")
        self.refusals.note([], "peer")
        self.refusals.note(iter([Rejected(BAD_LINE, "x")]), "other")
        self.assertEqual(self.refusals.counts, {BAD_LINE: 3, FUTURE: 1})

    def test_first(self) -> None:
        """The first of each reason is logged in full."""
        with logged() as log:
            self.refusals.note([Rejected(BAD_LINE, "no {braces}"), Rejected(FUTURE, "too early")], "192.0.2.7")
        self.assertEqual(
            log.warnings,
            [
                "refused from 192.0.2.7: no {braces} (bad-line; 0 more since the last such line)",
                "refused from 192.0.2.7: too early (future; 0 more since the last such line)",
            ],
        )

    def test_rate(self) -> None:
        """Of each reason there is one line in ten seconds, which tells how many were left out."""
        with logged() as log:
            for number in range(100):  # twenty seconds and more
                self.refusals.note([Rejected(BAD_LINE, str(number)), Rejected(BAD_LINE, "again")], "peer")
                if number == 50:
                    self.refusals.note([Rejected(FUTURE, "too early")], "peer")
                self.clock.advance(0.25)
        self.assertEqual(
            log.warnings,
            [
                "refused from peer: 0 (bad-line; 0 more since the last such line)",
                "refused from peer: 40 (bad-line; 79 more since the last such line)",
                "refused from peer: too early (future; 0 more since the last such line)",
                "refused from peer: 80 (bad-line; 79 more since the last such line)",
            ],
        )
        self.assertEqual(self.refusals.counts, {BAD_LINE: 200, FUTURE: 1})

    def test_rate_of_reasons(self) -> None:
        """A reason that is rare is logged though another one is frequent."""
        with logged() as log:
            for _ in range(100):
                self.refusals.note([Rejected(BAD_LINE, "x")], "peer")
            self.refusals.note([Rejected(FUTURE, "y")], "peer")
        self.assertEqual(len(log.warnings), 2)
        self.assertEqual(LOG_INTERVAL, 10.0)
