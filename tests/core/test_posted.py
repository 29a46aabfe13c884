"""Tests for `perfmon.core.posted`."""

from typing import Any

import orjson
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.numbering import Numbering
from perfmon.core.posted import BadBody, parse_posted
from perfmon.core.reject import BAD_NAME, FUTURE, TOO_OLD, Rejected, TimeBounds
from perfmon.core.tiers import RAW

NOW = 1_800_000_000.125
Sample = tuple[str, str, int, float]  # host, metric, ms, value


class ParsePostedTests(SynchronousTestCase):
    def parsed(self, body: Any) -> tuple[list[Sample], dict[int, Rejected]]:
        """The samples of a body, and what was refused."""
        numbering = Numbering(lambda: 7)
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        columns, refused = parse_posted(data, numbering, NOW, TimeBounds.at(NOW))
        self.assertIs(columns.numbering, numbering)
        places, numbers = numbering.places()
        found = []
        for series, time, value in zip(
            columns.series.tolist(), columns.times_ms.tolist(), columns.values.tolist(), strict=True
        ):
            log = numbering.logs[places[series]]
            found.append((log.host, log.names[numbers[series]], time, value))
        return found, refused

    def test_samples(self) -> None:
        """Samples have the body's host or their own, and their own time or the present."""
        self.assertEqual(
            self.parsed(
                {
                    "host": "web1",
                    "samples": [
                        {"metric": "queue", "value": 42},
                        {"metric": "queue;b=2;a=1", "value": -0.5, "time": 1_799_999_990.5},
                        {"metric": "queue", "value": 1e300, "host": "web2", "time": None},
                    ],
                }
            ),
            (
                [
                    ("web1", "queue", 1_800_000_000_125, 42.0),
                    ("web1", "queue;a=1;b=2", 1_799_999_990_500, -0.5),
                    ("web2", "queue", 1_800_000_000_125, 1e300),
                ],
                {},
            ),
        )

    def test_none(self) -> None:
        """A body without samples is none of harm."""
        self.assertEqual(self.parsed({"samples": []}), ([], {}))

    def test_refused(self) -> None:
        """What cannot be stored is told by its place, with the reason; the others are taken."""
        good = {"metric": "queue", "value": 1}
        samples = [
            good,
            good | {"time": NOW + 601},
            good | {"time": NOW - RAW.retention},
            good | {"metric": "a b"},
            good | {"metric": ""},
            good | {"metric": "a;b"},
            good | {"host": "no host"},
            good,
        ]
        found, refused = self.parsed({"host": "web1", "samples": samples})
        self.assertEqual(len(found), 2)
        self.assertEqual(
            {place: one.reason for place, one in refused.items()},
            {1: FUTURE, 2: TOO_OLD, 3: BAD_NAME, 4: BAD_NAME, 5: BAD_NAME, 6: BAD_NAME},
        )

    def test_no_host(self) -> None:
        """A sample of no host is refused."""
        found, refused = self.parsed({"samples": [{"metric": "queue", "value": 1}]})
        self.assertEqual((found, refused[0].reason), ([], BAD_NAME))

    def test_bounds(self) -> None:
        """Times are taken as far as they are from anybody else."""
        times = [NOW + 600, NOW - RAW.retention + 1]
        found, refused = self.parsed(
            {"host": "web1", "samples": [{"metric": "queue", "value": 1, "time": time} for time in times]}
        )
        self.assertEqual((len(found), refused), (2, {}))

    def test_malformed(self) -> None:
        """A body that is not in its form is refused as a whole, with where it is wrong and what it should look like."""
        for body in (
            b"",
            b"queue 42",
            b"[]",
            b"{}",
            b'{"samples": {}}',
            b'{"samples": [7]}',
            b'{"samples": [{"metric": "queue"}]}',
            b'{"samples": [{"metric": "queue", "value": "42"}]}',
            b'{"samples": [{"metric": "queue", "value": null}]}',
            b'{"samples": [{"metric": "queue", "value": NaN}]}',
            b'{"samples": [{"metric": "queue", "value": 1e999}]}',
            b'{"samples": [{"metric": "queue", "value": 1, "time": "now"}]}',
            b'{"samples": [{"metric": 7, "value": 1}]}',
            b'{"samples": [{"metric": "queue", "value": 1, "unit": "s"}]}',
            b'{"samples": [], "hosts": "web1"}',
            b'{"samples": [], "host": "\xff"}',
            b"[" * 100_000,
        ):
            problem = str(self.assertRaises(BadBody, self.parsed, body))
            self.assertIn('send {"host": "web1", "samples": [', problem)
        problem = str(self.assertRaises(BadBody, self.parsed, b'{"samples": [{"metric": "a", "value": "x"}]}'))
        self.assertIn("$.samples[0].value", problem)

    def test_huge(self) -> None:
        """Any finite value is taken."""
        body = b'{"host": "web1", "samples": [{"metric": "a", "value": -1.7976931348623157e308}]}'
        self.assertEqual(self.parsed(body), ([("web1", "a", 1_800_000_000_125, -1.7976931348623157e308)], {}))
