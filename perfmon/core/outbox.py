"""What an agent has sampled and the collector has not yet confirmed, as lines ready to be sent."""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from perfmon.core.messages import Metrics, Samples, encode
from perfmon.core.schema import followed

# Rounds kept while nobody confirms them. At 10 s and 100 metrics: 11 hours and about 5 MB.
MAX_ROUNDS = 4096


@dataclass(frozen=True, slots=True)
class Round:
    """One sampling round on its way."""

    seq: int
    schema: int
    line: bytes


class Outbox:
    """Rounds in the order of their sampling, until they are confirmed; bounded, the oldest go first.

    A round names its values by a schema (see `perfmon.core.schema`), which is kept as long as a round needs it.
    """

    def __init__(self, max_rounds: int = MAX_ROUNDS) -> None:
        self._max_rounds = max_rounds
        self._rounds: deque[Round] = deque()
        self._names: list[str] = []
        self._schema = 0
        self._schemas: dict[int, bytes] = {}
        self._seq = 0
        self.dropped = 0  # rounds that were never confirmed and had to go

    def __len__(self) -> int:
        return len(self._rounds)

    def add(self, time: float, values: Mapping[str, float]) -> None:
        """Takes in the round of `time` (s since the epoch)."""
        names = followed(self._names, values)
        if names is not self._names:
            self._names = names
            self._schema += 1
            self._schemas[self._schema] = encode(Metrics(self._schema, self._names))
        self._keep(time, [values.get(name) for name in self._names])

    def _keep(self, time: float, row: list[float | None]) -> None:
        """Takes in a round whose values are in the order of the schema."""
        self._seq += 1
        line = encode(Samples(self._seq, self._schema, time, row))
        self._rounds.append(Round(self._seq, self._schema, line))
        if len(self._rounds) > self._max_rounds:
            self._rounds.popleft()
            self.dropped += 1
            self._drop_schemas()

    def after(self, seq: int) -> Iterator[Round]:
        """The rounds kept whose seq is above `seq`, oldest first."""
        return (kept for kept in self._rounds if kept.seq > seq)

    def schema(self, schema: int) -> bytes:
        """The line that declares it."""
        return self._schemas[schema]

    def confirm(self, seq: int) -> None:
        """Forgets every round up to `seq`."""
        while self._rounds and self._rounds[0].seq <= seq:
            self._rounds.popleft()
        self._drop_schemas()

    def refuse(self, seq: int) -> None:
        """Forgets the one round `seq`: the collector will never take it."""
        self._rounds = deque(kept for kept in self._rounds if kept.seq != seq)
        self._drop_schemas()

    def _drop_schemas(self) -> None:
        """Forgets what no round refers to."""
        if len(self._schemas) > 1:
            in_use = {kept.schema for kept in self._rounds} | {self._schema}
            self._schemas = {number: line for number, line in self._schemas.items() if number in in_use}
