"""What people want of hosts: how they sample, and when they may be absent."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isfinite

# As of an agent's own --interval; a host that is to tell less than once a day is to be stopped.
MIN_INTERVAL, MAX_INTERVAL = 0.1, 86_400.0  # s


# A host that is not to come back for longer is to be removed.
MAX_ABSENCE = 400 * 86_400  # s

# Longest reason of an absence.
MAX_REASON = 200  # characters


@dataclass(frozen=True, slots=True)
class Absence:
    """A host may be gone until then, and nobody need look after it."""

    until: float  # s since the epoch
    reason: str = ""

    def __str__(self) -> str:
        """As it is kept."""
        return f"{self.until!r} {self.reason}"

    @classmethod
    def parse(cls, text: str) -> "Absence":
        """What `__str__` gave. Raises ValueError."""
        until, _, reason = text.partition(" ")
        return cls(float(until), reason)


@dataclass(frozen=True, slots=True)
class Order:
    """What is wanted of a host."""

    stopped: bool = False  # it is not to sample
    interval: float | None = None  # s between samples; None: as it was started
    absence: Absence | None = None


NO_ORDER = Order()

# What can be wanted of a host, as fields name it.
ORDERS = ("stopped", "interval", "absence")


def orders_of(fields: Mapping[str, str]) -> dict[str, Order]:
    """Host to what is wanted of it, from fields ``HOST WHAT`` as `ORDERS` names it.

    The value of ``stopped`` is any, that of ``interval`` in s, that of ``absence`` an `Absence`. What is none of
    these, and an interval that no host may have, is not wanted.
    """
    orders: dict[str, Order] = {}
    for field, value in fields.items():
        host, _, what = field.rpartition(" ")
        order = orders.get(host, NO_ORDER)
        try:
            if what == "stopped":
                orders[host] = replace(order, stopped=True)
            elif what == "interval":
                orders[host] = replace(order, interval=checked_interval(float(value)))
            elif what == "absence":
                orders[host] = replace(order, absence=Absence.parse(value))
        except ValueError:
            continue
    return orders


def checked_interval(seconds: float) -> float:
    """`seconds` if hosts may sample so often. Raises ValueError with a sentence."""
    if not (isfinite(seconds) and MIN_INTERVAL <= seconds <= MAX_INTERVAL):
        raise ValueError(f"an interval is {MIN_INTERVAL:g} s to 1 d")
    return seconds
