"""Tests for `perfmon.core.prices`."""

from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.prices import BadPrices, Prices, parse_prices
from perfmon.core.rightsizing import GIB
from perfmon.core.verdicts import Size


class PricesTests(SynchronousTestCase):
    def test_whole(self) -> None:
        """A file has the price of a core and of a GiB, and may name the currency."""
        self.assertEqual(parse_prices('core = 18\ngib = 2.5\ncurrency = "EUR"'), Prices(18.0, 2.5, "EUR"))
        self.assertEqual(parse_prices("core = 0\ngib = 0"), Prices(0.0, 0.0))

    def test_bad(self) -> None:
        """What is missing or makes no sense is said."""
        for text, words in (
            ("core = 1", "gib is needed"),
            ("core = -1\ngib = 1", "core is needed"),
            ("core = true\ngib = 1", "core is needed"),
            ("core = nan\ngib = 1", "core is needed"),
            ("core = 1\ngib = 1\ndisk = 1", "'disk' is unknown"),
            ("core = 1\ngib = 1\ncurrency = 7", "currency is a short text"),
            ("core", "Expected '='"),
        ):
            with self.assertRaisesRegex(BadPrices, words, msg=text):
                parse_prices(text)

    def test_saving(self) -> None:
        """What a size costs less than another; nothing is made up of what is not known."""
        prices = Prices(10.0, 2.0)
        self.assertEqual(prices.saving(Size(8.0, 32 * GIB), Size(2.0, 8 * GIB)), 108.0)
        self.assertEqual(prices.saving(Size(8.0, 32 * GIB), Size(0.0, 0.0)), 144.0)
        self.assertEqual(prices.saving(Size(2.0, 32 * GIB), Size(3.0, 32 * GIB)), -10.0)
        self.assertEqual(prices.saving(Size(8.0, None), Size(2.0, None)), 60.0)
        self.assertIsNone(prices.saving(Size(None, 1.0), Size(None, 1.0)))
