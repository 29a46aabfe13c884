"""Heads in memory, for tests of what is above the store: appends as the store answers them."""

from collections.abc import Iterable, Sequence
from itertools import count

from perfmon.core.frames import head_frame
from perfmon.core.head_reader import read_head
from perfmon.core.heads import HeadWrite, confirm
from perfmon.core.tiers import WindowName

Read = dict[WindowName, dict[str, dict[int, float]]]
"""All samples, by head, metric and time (ms)."""


class MemoryHeads:
    """Keys, and an append that begins a new head with its frame and answers with the identity of each."""

    def __init__(self) -> None:
        self.heads: dict[WindowName, bytes] = {}
        self.taken: list[tuple[WindowName, bytes]] = []  # to be sealed, one after another
        self._identities = count(1)

    def write(self, writes: Sequence[HeadWrite]) -> list[bytes]:
        """Appends; returns what the store answers: nothing for a head that is not the one which a write expects."""
        return [self._append(write) for write in writes]

    def _append(self, write: HeadWrite) -> bytes:
        head = self.heads.get(write.name, b"")
        if write.expects and head[12:20] != write.expects:
            return b""
        head = (head or head_frame(next(self._identities).to_bytes(8, "little"))) + write.data
        self.heads[write.name] = head
        return head[12:20]

    def confirmed(self, writes: Sequence[HeadWrite]) -> None:
        """Appends `writes` and what must follow."""
        while writes:
            writes = confirm(writes, self.write(writes))

    def take(self, name: WindowName) -> None:
        """Takes away a head, as sealing does."""
        self.taken.append((name, self.heads.pop(name)))

    def read(self) -> Read:
        """What the heads have."""
        return self._read(self.heads.items())

    def read_all(self) -> Read:
        """What they have together with those that were taken."""
        return self._read([*self.taken, *self.heads.items()])

    @staticmethod
    def _read(heads: Iterable[tuple[WindowName, bytes]]) -> Read:
        found: Read = {}
        for name, head in heads:
            series = found.setdefault(name, {})
            for metric, column in read_head(head, name.window, str(name)).items():
                samples = zip(column.times.tolist(), column.values.tolist(), strict=True)
                series.setdefault(metric, {}).update(samples)
        return found
