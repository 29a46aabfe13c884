"""Tests for `perfmon.core.flight`."""

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.flight import MAX_BACKLOG, MAX_LIVE, MAX_SCHEMAS, Flight, Round
from perfmon.core.messages import Samples, body


def made(key: int, schema: int = 1) -> Round:
    """A round whose one value is its key; the metric is named by the schema."""
    return Round(key, schema, orjson.dumps([f"m{schema}"]), body(Samples(0, 0, float(key), [float(key)])))


def read(lines: bytes) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in lines.splitlines()]


def samples(seq: int, key: int, id: int = 1) -> dict[str, Any]:
    return {"type": "samples", "seq": seq, "id": id, "time": float(key), "values": [float(key)]}


class FlightTests(SynchronousTestCase):
    def test_lines(self) -> None:
        """Seqs count from 1 in the order of sending; a schema is declared before the first round that has it."""
        flight = Flight()
        self.assertEqual(
            read(flight.take(made(70), False, 0.0)),
            [{"type": "metrics", "id": 1, "names": ["m1"]}, samples(1, 70)],
        )
        self.assertEqual(read(flight.take(made(20), True, 0.0)), [samples(2, 20)])
        self.assertEqual(flight.keys, {20, 70})

    def test_confirm(self) -> None:
        """A confirmation holds for all up to its seq, once."""
        flight = Flight()
        for key in (70, 20, 80):
            flight.take(made(key), False, 0.0)
        self.assertEqual(flight.confirm(2, 0.0), [70, 20])
        self.assertEqual(flight.confirm(2, 0.0), [])
        self.assertEqual(flight.confirm(99, 0.0), [80])

    def test_refuse(self) -> None:
        """A refusal holds for one, once; what was not sent cannot be refused."""
        flight = Flight()
        for key in (70, 20, 80):
            flight.take(made(key), False, 0.0)
        self.assertEqual([flight.refuse(seq) for seq in (2, 2, 9)], [20, None, None])
        self.assertEqual(flight.confirm(3, 0.0), [70, 80])

    def test_again(self) -> None:
        """What is sent again keeps its seqs."""
        flight = Flight()
        for key in (70, 20, 80):
            flight.take(made(key), False, 0.0)
        self.assertEqual(read(flight.again(2)), [samples(2, 20), samples(3, 80)])
        self.assertEqual(flight.confirm(3, 0.0), [70, 20, 80])

    def test_new_are_bounded(self) -> None:
        """Only so many new ones are under way, however many old ones are."""
        flight = Flight()
        flight.take(made(1), True, 0.0)
        for key in range(MAX_LIVE):
            self.assertEqual(flight.room, MAX_LIVE - key)
            flight.take(made(10 + key), False, 0.0)
        self.assertEqual(flight.room, 0)
        flight.confirm(2, 0.0)
        self.assertEqual(flight.room, 1)

    def window(self, flight: Flight) -> int:
        """How many old ones may be under way when none is."""
        count, taken = 0, []
        while flight.takes_old:
            count += 1
            taken.append(made(count))
            flight.take(taken[-1], True, 0.0)
        for _ in taken:
            for carried in list(flight._carried):
                flight.refuse(carried.seq)
        return count

    def test_window_opens(self) -> None:
        """At first one old round is under way; each that is confirmed soon lets one more go, up to the most."""
        flight = Flight()
        for expected in (*range(1, MAX_BACKLOG + 1), MAX_BACKLOG):
            self.assertEqual(self.window(flight), expected)
            flight.take(made(1), True, 0.0)
            flight.confirm(flight._seq, 0.1)

    def test_window_closes(self) -> None:
        """What takes long halves it, and a collector that had no room begins with one again."""
        flight = Flight()
        for _ in range(MAX_BACKLOG):
            flight.take(made(1), True, 0.0)
            flight.confirm(flight._seq, 0.0)
        flight.take(made(1), True, 0.0)
        flight.confirm(flight._seq, 0.5)
        self.assertEqual(self.window(flight), MAX_BACKLOG)
        flight.take(made(1), False, 0.0)
        flight.confirm(flight._seq, 1.5)
        self.assertEqual(self.window(flight), MAX_BACKLOG // 2)
        flight.again(1)
        self.assertEqual(self.window(flight), 1)

    def test_many_schemas(self) -> None:
        """Ids of schemas are bounded: that of the oldest is given anew; a round that is sent again has its own."""
        flight, known = Flight(), dict[int, str]()

        def understood(lines: bytes) -> dict[int, str]:
            """As the collector does it: key of each round to its metric."""
            found = {}
            for message in read(lines):
                if message["type"] == "metrics":
                    known[message["id"]] = message["names"][0]
                else:
                    found[int(message["time"])] = known[message["id"]]
            return found

        expected = {}
        for key in range(1, MAX_SCHEMAS + 20):
            self.assertEqual(understood(flight.take(made(key, schema=key), False, 0.0)), {key: f"m{key}"})
            expected[key] = f"m{key}"
        self.assertLessEqual(max(known), MAX_SCHEMAS)
        self.assertEqual(understood(flight.again(1)), expected)

    @given(
        st.lists(
            st.one_of(st.booleans(), st.tuples(st.sampled_from(["confirm", "refuse", "again"]), st.integers(0, 20)))
        )
    )
    def test_whatever_happens(self, steps: list[Any]) -> None:
        """Every round that was taken is given back once, or is still under way."""
        flight, key, back = Flight(), 0, list[int]()
        for step in steps:
            if isinstance(step, bool):
                key += 1
                flight.take(made(key), step, 0.0)
            elif step[0] == "confirm":
                back += flight.confirm(step[1], 0.0)
            elif step[0] == "refuse":
                back += [found for found in [flight.refuse(step[1])] if found is not None]
            else:
                sent = read(flight.again(step[1]))
                self.assertEqual([message["seq"] for message in sent if message["seq"] < step[1]], [])
        self.assertEqual(sorted([*back, *flight.keys]), list(range(1, key + 1)))
        self.assertGreaterEqual(flight._old, 0)
