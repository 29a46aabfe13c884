"""Heads in memory, for tests of what is above the store: appends as the store answers them."""

from collections.abc import Sequence
from itertools import count

from perfmon.core.frames import head_frame, read_head
from perfmon.core.heads import HeadWrite, confirm
from perfmon.core.tiers import HeadName


class MemoryHeads:
    """Keys, and an append that begins a new head with its frame and returns the identity of each."""

    def __init__(self) -> None:
        self.heads: dict[HeadName, bytes] = {}
        self._identities = count(1)

    def write(self, writes: Sequence[HeadWrite]) -> list[bytes]:
        """Appends; returns what the store answers."""
        for write in writes:
            if write.name not in self.heads:
                self.heads[write.name] = head_frame(next(self._identities).to_bytes(8, "little"))
            self.heads[write.name] += write.data
        return [self.heads[write.name][12:20] for write in writes]

    def confirmed(self, writes: Sequence[HeadWrite]) -> None:
        """Appends `writes` and what must follow."""
        while writes:
            writes = confirm(writes, self.write(writes))

    def read(self) -> dict[HeadName, dict[str, dict[int, float]]]:
        """All samples, by head, metric and time (ms)."""
        return {
            name: {
                metric: dict(zip(column.times.tolist(), column.values.tolist(), strict=True))
                for metric, column in read_head(head, name.window, str(name)).items()
            }
            for name, head in self.heads.items()
        }
