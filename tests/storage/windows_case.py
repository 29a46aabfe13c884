"""What tests of windows have in common: some windows of a host, and a look at all that is kept of them."""

import time
from typing import Any

from perfmon.core.tiers import HOURS, MINUTES, RAW, Tier, WindowName
from perfmon.storage import keys
from perfmon.storage.store import Store
from perfmon.storage.windows import Windows
from tests.valkey import StoreCase

NOW = float(int(time.time()))  # the server's own clock decides when a key expires
HOUR = RAW.window
START = MINUTES.window_of(int(NOW) * 1000) - MINUTES.window  # of a window of minutes that is over
PARTS = MINUTES.window // RAW.window
UNTIL = NOW + 600.25

Keys = dict[str, tuple[Any, int]]


def raw(host: str = "web1", hour: int = 0) -> WindowName:
    """A window of the raw tier, so many hours after `START`."""
    return WindowName(host, RAW.name, START + hour * HOUR)


def minutes(host: str = "web1") -> WindowName:
    """The window of minutes that begins at `START`."""
    return WindowName(host, MINUTES.name, START)


def hours(host: str = "web1") -> WindowName:
    """The window of hours that it belongs to."""
    return WindowName(host, HOURS.name, HOURS.window_of(START * 1000))


def member(name: WindowName) -> str:
    return f"{name.host} {name.window}"


class WindowsCase(StoreCase):
    async def begin(self) -> Windows:
        self.store: Store = await self.connected()
        return self.store.windows

    def open_window(self, tier: Tier, name: WindowName, due: float) -> None:
        """Puts a window among those that `tier` lacks."""
        self.server("ZADD", keys.open_windows(tier.name), repr(due), member(name))

    def open_windows(self, tier: Tier) -> dict[str, float]:
        """What `tier` lacks, and when it is due."""
        flat = self.server("ZRANGE", keys.open_windows(tier.name), 0, -1, "WITHSCORES")
        return {name.decode(): float(due) for name, due in zip(flat[0::2], flat[1::2], strict=True)}

    def fill(self, name: WindowName, expires_at: int = 0, **fields: str) -> None:
        """The hash of a window, with an underscore for each ``;`` of a field."""
        flat = [word for field, value in fields.items() for word in (field.replace("_", ";"), value)]
        self.server("HSET", keys.window(name), *flat)
        self.server("EXPIREAT", keys.window(name), expires_at or RAW.spared_until(name.window))

    def fields(self, name: WindowName) -> dict[str, str]:
        flat = self.server("HGETALL", keys.window(name))
        return {field.decode(): value.decode() for field, value in zip(flat[0::2], flat[1::2], strict=True)}

    def expires_at(self, key: str) -> int:
        found: int = self.server("EXPIRETIME", key)
        return found

    def everything(self) -> Keys:
        """All keys with what they hold and when they expire."""
        found: Keys = {}
        for key in self.server("KEYS", "*"):
            kind = self.server("TYPE", key)
            ask = {b"string": ("GET", key), b"hash": ("HGETALL", key), b"zset": ("ZRANGE", key, 0, -1, "WITHSCORES")}
            found[key.decode()] = self.server(*ask[kind]), self.expires_at(key)
        return found
