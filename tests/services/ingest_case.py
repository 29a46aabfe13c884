"""An ingest whose appends are answered when the test says so."""

import struct

import numpy as np
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.heads import BATCH_SIZE
from perfmon.core.numbering import Columns, Row
from perfmon.services.ingest import Ingest
from tests.services.recording import ControlledAppends, RecordingSender

NOW = 1_800_000_000.0
Samples = list[tuple[str, str, float, float]]


class IngestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.store = ControlledAppends()
        self.begin()
        self.sender = RecordingSender()
        self.added: Samples = []

    def begin(self, batch_size: int = BATCH_SIZE, batch_time: float = 0.0) -> None:
        self.ingest = Ingest(
            self.store,
            self.clock,
            lambda: NOW + self.clock.seconds(),
            batch_size=batch_size,
            batch_time=batch_time,
        )
        self.ingest.startService()

    def row(self, seq: int, *values: float, host: str = "web1") -> None:
        """One round of the metrics m0, m1, ..., sent by `sender`."""
        names = [f"m{number}" for number in range(len(values))]
        log, first = self.ingest.numbering.schema(host, names)
        packed = struct.pack(f"<{len(values)}d", *values)
        self.ingest.add_row(Row(log, first, round((NOW + seq) * 1000), packed), self.sender, seq)
        self.added += [(host, name, NOW + seq, value) for name, value in zip(names, values, strict=True)]

    def column(self, seq: int, *values: float, host: str = "web2") -> None:
        """The same as columns, without a sender."""
        self.ingest.add_columns(self.columns(seq, *values, host=host))
        self.added += [(host, f"m{number}", NOW + seq, value) for number, value in enumerate(values)]

    def columns(self, seq: int, *values: float, host: str = "web2") -> Columns:
        numbering = self.ingest.numbering
        series = [numbering.series(host, f"m{number}") for number in range(len(values))]
        times = np.full(len(values), round((NOW + seq) * 1000), np.int64)
        return Columns(numbering, np.array(series, np.int64), times, np.array(values))

    def turn(self) -> None:
        """One turn of the reactor."""
        self.clock.advance(0)

    def assert_stored(self) -> None:
        """Everything that was added can be read, and counts as stored."""
        self.assertEqual(self.store.samples(), sorted(self.added))
        self.assertEqual((self.ingest.received, self.ingest.stored), (len(self.added), len(self.added)))
        self.assertEqual((self.ingest.buffered, self.store.waiting, self.clock.getDelayedCalls()), (0, False, []))
