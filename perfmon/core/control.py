"""What people want of the sampling of hosts."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

# As of an agent's own --interval; a host that is to tell less than once a day is to be stopped.
MIN_INTERVAL, MAX_INTERVAL = 0.1, 86_400.0  # s


@dataclass(frozen=True, slots=True)
class Order:
    """How a host is to sample."""

    stopped: bool = False
    interval: float | None = None  # s; None: as it was started


NO_ORDER = Order()

# What can be wanted of a host, as fields name it.
ORDERS = ("stopped", "interval")


def orders_of(fields: Mapping[str, str]) -> dict[str, Order]:
    """Host to what is wanted of it, from fields ``HOST stopped`` (any value) and ``HOST interval`` (s).

    An interval that is none, or that no host may have, is not wanted.
    """
    orders: dict[str, Order] = {}
    for field, value in fields.items():
        host, _, what = field.rpartition(" ")
        order = orders.get(host, NO_ORDER)
        if what == "stopped":
            orders[host] = Order(True, order.interval)
        elif what == "interval":
            try:
                orders[host] = Order(order.stopped, checked_interval(float(value)))
            except ValueError:
                continue
    return orders


def checked_interval(seconds: float) -> float:
    """`seconds` if hosts may sample so often. Raises ValueError with a sentence."""
    if not (isfinite(seconds) and MIN_INTERVAL <= seconds <= MAX_INTERVAL):
        raise ValueError(f"an interval is {MIN_INTERVAL:g} s to 1 d")
    return seconds
