"""The judge of departures finds what is wrong, and nothing else."""

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.faults.departures import Blind, Departures, Named, judged
from tests.integration.faults.ledger import Host

TIMEOUT = 3.0  # s


def host(*signs: float, goodbyes: tuple[float, ...] = (), perhaps: tuple[float, ...] = ()) -> Host:
    return Host(signs=list(signs), goodbyes=list(goodbyes), perhaps=list(perhaps))


class DeparturesTests(SynchronousTestCase):
    def judge(self, one: Host, *named: float, blinds: tuple[Blind, ...] = (), written: float = 0.05) -> Departures:
        """Departures at these moments, each written so long after; the last look is at 100."""
        departures = [Named("web1", at, at + written) for at in named]
        return judged({"web1": one}, departures, blinds, TIMEOUT, until=100.0)

    def test_named(self) -> None:
        """A silence that is named in time is right, and how long it took beyond the timeout is known."""
        found = self.judge(host(10, 11, 20, *range(21, 100)), 14.1)
        self.assertEqual((found.wrong, found.expected, found.named), ([], 1, 1))
        self.assertAlmostEqual(found.delays[0], 0.15)

    def test_none(self) -> None:
        self.assertEqual(self.judge(host(*range(10, 100))), Departures())

    def test_short_silence(self) -> None:
        """One that ended just after the timeout may be named or not."""
        signs = host(10, 13.5, *range(16, 100))
        self.assertEqual(self.judge(signs).wrong, [])
        self.assertEqual(self.judge(signs, 13.1).wrong, [])

    def test_false(self) -> None:
        """A sign less than the timeout ago, a goodbye, and a host that nobody knows."""
        self.assertEqual(len(self.judge(host(*range(10, 100)), 20.5).false), 1)
        self.assertEqual(len(self.judge(host(10, 11, goodbyes=(11,)), 14.1).false), 1)
        unknown = judged({}, [Named("web1", 5.0, 5.0)], (), TIMEOUT, 100.0)
        self.assertEqual(unknown.named, 1)

    def test_late(self) -> None:
        """Named after more than a second, written after more than a second, and never."""
        silent = host(10, 20, *range(21, 100))
        self.assertEqual(len(self.judge(silent, 14.2).late), 1)
        self.assertEqual(len(self.judge(silent, 13.5, written=2.0).late), 1)
        self.assertEqual(len(self.judge(silent).late), 1)
        self.assertEqual(len(self.judge(host(10, 11)).late), 1, "silent to the end")

    def test_twice(self) -> None:
        silent = host(10, 20, *range(21, 100))
        self.assertEqual(len(self.judge(silent, 13.1, 13.2).doubled), 1)

    def test_blind(self) -> None:
        """A frozen collector's clock stands still; a new one gives everybody the whole timeout once more."""
        silent = host(10, 30, *range(31, 100))
        frozen = Blind(11.0, 16.0)
        self.assertEqual(self.judge(silent, 18.9, blinds=(frozen,)).wrong, [])
        self.assertEqual(len(self.judge(silent, 19.2, blinds=(frozen,)).late), 1)
        restarted = Blind(11.0, 16.0, restarted=True)
        self.assertEqual(self.judge(silent, 19.9, blinds=(restarted,)).wrong, [])
        self.assertEqual(len(self.judge(silent, 20.2, blinds=(restarted,)).late), 1)
        self.assertEqual(self.judge(silent, 19.9, blinds=(restarted,)).delays, [], "it says nothing of the collector")

    def test_store_away(self) -> None:
        """Without a store the collector finds departures in time, and writes them later."""
        silent = host(10, 30, *range(31, 100))
        away = Blind(12.0, 20.0, store=True)
        self.assertEqual(self.judge(silent, 13.5, blinds=(away,), written=7.0).wrong, [])
        self.assertEqual(len(self.judge(silent, 15.0, blinds=(away,), written=5.0).late), 1)

    def test_never_written(self) -> None:
        """Who came back while the store was away, and was gone again when the collector ended, has never been there."""
        came = host(10, 20, 21, 50, *range(51, 100))
        away, ended = Blind(19.0, 26.0, store=True), Blind(22.0, 24.0, restarted=True)
        self.assertEqual(self.judge(came, 13.5, blinds=(away, ended)).wrong, [])
        for blinds in (
            (away,),
            (ended,),
            (Blind(20.5, 26.0, store=True), ended),
            (Blind(19.0, 21.5, store=True), ended),
        ):
            self.assertEqual(len(self.judge(came, 13.5, blinds=blinds).late), 1, blinds)

    def test_doubtful_sign(self) -> None:
        """A hello that was not answered may have been a sign: the departure may come after it or before it."""
        silent = host(10, 30, *range(31, 100), perhaps=(12.5,))
        for departed in ((13.1,), (15.6,), (13.1, 15.6)):
            self.assertEqual(self.judge(silent, *departed).wrong, [], departed)
