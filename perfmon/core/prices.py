"""What machines cost, from a TOML file: so a verdict becomes a saving.

core = 18.0        # of one core, a month
gib = 2.4          # of one GiB of memory, a month
currency = "EUR"
"""

import tomllib
from dataclasses import dataclass
from math import isfinite

from perfmon.core.verdicts import Size

_GIB = float(1 << 30)


class BadPrices(ValueError):
    """The file has no prices; `str()` says why."""


@dataclass(frozen=True, slots=True)
class Prices:
    """Of a month."""

    core: float
    gib: float
    currency: str = ""

    def saving(self, now: Size, suggested: Size) -> float | None:
        """A month with the suggested size in place of that now; negative where it costs more, None where a size is
        not known."""
        if now.cores is None or suggested.cores is None:
            return None
        memory = 0.0 if now.memory is None or suggested.memory is None else now.memory - suggested.memory
        return (now.cores - suggested.cores) * self.core + memory / _GIB * self.gib


def parse_prices(text: str) -> Prices:
    """The prices of a file. Raises `BadPrices`."""
    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        raise BadPrices(str(problem)) from None
    if unknown := given.keys() - {"core", "gib", "currency"}:
        raise BadPrices(f"{min(unknown)!r} is unknown: core, gib, currency")
    for name in ("core", "gib"):
        price = given.get(name)
        if isinstance(price, bool) or not isinstance(price, int | float) or not (isfinite(price) and price >= 0):
            raise BadPrices(f"{name} is needed: the price of one a month, as a number")
    currency = given.get("currency", "")
    if not isinstance(currency, str) or len(currency) > 10:
        raise BadPrices('currency is a short text, such as "EUR"')
    return Prices(float(given["core"]), float(given["gib"]), currency)
