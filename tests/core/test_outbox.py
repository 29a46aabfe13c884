"""Tests for `perfmon.core.outbox`."""

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.outbox import Outbox

NOW = 1_800_000_000.0


def sent(outbox: Outbox, seq: int = 0) -> list[dict[str, Any]]:
    """What a connection that has sent everything up to `seq` has still to send, schemas first."""
    rounds = list(outbox.after(seq))
    schemas = [outbox.schema(number) for number in sorted({kept.schema for kept in rounds})]
    lines = [*schemas, *(kept.line for kept in rounds)]
    assert all(line.endswith(b"\n") for line in lines)
    return [orjson.loads(line) for line in lines]


def metrics(id: int, *names: str) -> dict[str, Any]:
    return {"type": "metrics", "id": id, "names": list(names)}


def samples(seq: int, values: list[float | None], id: int = 1, time: float = NOW) -> dict[str, Any]:
    return {"type": "samples", "seq": seq, "id": id, "time": time, "values": values}


class OutboxTests(SynchronousTestCase):
    def filled(self, count: int) -> Outbox:
        """Rounds 1 to `count` of one metric."""
        outbox = Outbox()
        for number in range(1, count + 1):
            outbox.add(NOW, {"cpu": float(number)})
        return outbox

    def kept(self, outbox: Outbox) -> list[int]:
        return [one.seq for one in outbox.after(0)]

    def test_empty(self) -> None:
        """Nothing sampled is nothing to send."""
        outbox = Outbox()
        outbox.confirm(7)
        outbox.refuse(7)
        self.assertEqual((len(outbox), sent(outbox)), (0, []))

    def test_order(self) -> None:
        """Rounds come in the order of their sampling, with rising seqs; a connection goes on after its last one."""
        outbox = self.filled(3)
        self.assertEqual(sent(outbox), [metrics(1, "cpu"), samples(1, [1.0]), samples(2, [2.0]), samples(3, [3.0])])
        self.assertEqual(sent(outbox, 2), [metrics(1, "cpu"), samples(3, [3.0])])
        self.assertEqual(sent(outbox, 3), [])

    def test_schema_grows(self) -> None:
        """A new metric makes a new schema; what a round lacks is null, and a round keeps the schema it was made for."""
        outbox = Outbox()
        outbox.add(NOW, {"cpu": 1.0, "load": 2.0})
        outbox.add(NOW + 1, {"load": 3.0})
        outbox.add(NOW + 2, {"fan": 4.0, "cpu": 5.0, "load": 6.0})
        self.assertEqual(
            sent(outbox),
            [
                metrics(1, "cpu", "load"),
                metrics(2, "cpu", "load", "fan"),
                samples(1, [1.0, 2.0]),
                samples(2, [None, 3.0], time=NOW + 1),
                samples(3, [5.0, 6.0, 4.0], id=2, time=NOW + 2),
            ],
        )

    def test_confirm(self) -> None:
        """A confirmation holds for every round up to its seq; one of the past changes nothing."""
        outbox = self.filled(5)
        outbox.confirm(3)
        self.assertEqual(self.kept(outbox), [4, 5])
        outbox.confirm(2)
        self.assertEqual(self.kept(outbox), [4, 5])
        outbox.confirm(99)
        self.assertEqual(len(outbox), 0)

    def test_refuse(self) -> None:
        """A refusal holds for its one round."""
        outbox = self.filled(3)
        outbox.refuse(2)
        outbox.refuse(2)
        self.assertEqual(self.kept(outbox), [1, 3])

    def test_bounded(self) -> None:
        """When there are too many rounds the oldest go, and are counted."""
        outbox = Outbox(max_rounds=3)
        for number in range(1, 6):
            outbox.add(NOW, {"cpu": float(number)})
        self.assertEqual((self.kept(outbox), outbox.dropped, len(outbox)), ([3, 4, 5], 2, 3))

    def test_seqs_never_repeat(self) -> None:
        """A seq is used once, whatever was confirmed, refused or dropped."""
        outbox = Outbox(max_rounds=2)
        seqs: set[int] = set()
        for number in range(10):
            outbox.add(NOW, {"cpu": 1.0})
            newest = self.kept(outbox)[-1]
            self.assertNotIn(newest, seqs)
            seqs.add(newest)
            (outbox.confirm, outbox.refuse, lambda seq: None)[number % 3](newest)

    def test_schemas_are_kept(self) -> None:
        """A schema is there as long as a round refers to it, and the newest one always."""
        outbox = Outbox()
        outbox.add(NOW, {"cpu": 1.0})
        outbox.add(NOW, {"cpu": 1.0, "fan": 2.0})
        outbox.confirm(1)
        self.assertRaises(KeyError, outbox.schema, 1)
        outbox.confirm(2)
        self.assertEqual(orjson.loads(outbox.schema(2)), metrics(2, "cpu", "fan"))
        outbox.add(NOW, {"cpu": 3.0, "fan": 4.0})
        self.assertEqual(sent(outbox), [metrics(2, "cpu", "fan"), samples(3, [3.0, 4.0], id=2)])

    def test_metrics_that_come_and_go(self) -> None:
        """A host that makes up new metrics for ever fills neither its rounds nor its memory, confirmed or not."""
        outbox = Outbox(max_rounds=10)
        for number in range(1_000):
            outbox.add(NOW, {"cpu": 1.0, f"device{number}": 2.0})
        self.assertEqual(len(outbox), 10)
        self.assertLessEqual(len(outbox._schemas), 10)
        for message in sent(outbox):
            if message["type"] == "metrics":
                self.assertLess(len(message["names"]), 5)

    @given(
        st.lists(
            st.one_of(
                st.dictionaries(
                    st.sampled_from("abcdef"), st.floats(allow_nan=False, allow_infinity=False), min_size=1
                ),
                st.tuples(st.sampled_from(["confirm", "refuse"]), st.integers(0, 30)),
            ),
            max_size=30,
        )
    )
    def test_whatever_happens(self, steps: list[Any]) -> None:
        """Every round that is kept can be sent, and says what was sampled."""
        outbox = Outbox(max_rounds=5)
        sampled: dict[int, dict[str, float]] = {}
        for step in steps:
            if isinstance(step, dict):
                outbox.add(NOW, step)
                sampled[len(sampled) + 1] = step
            else:
                getattr(outbox, step[0])(step[1])
            names: dict[int, list[str]] = {}
            for message in sent(outbox):
                if message["type"] == "metrics":
                    names[message["id"]] = message["names"]
                else:
                    values = zip(names[message["id"]], message["values"], strict=True)
                    found = {name: value for name, value in values if value is not None}
                    self.assertEqual(found, sampled[message["seq"]])
