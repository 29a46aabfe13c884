"""Tests for `perfmon.core.echo`: both ends, with whatever the network makes of their bytes."""

from hashlib import sha1

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.echo import DIGEST, Answering, Asking, BadGreeting, greeting
from perfmon.core.loads import MAX_MESSAGE

RUN = "3f0c2a91b7de"


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """`data`, cut at these places."""
    places = sorted(cut % (len(data) + 1) for cut in cuts)
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


class EchoTests(SynchronousTestCase):
    @given(
        st.integers(8, 300),
        st.integers(0, 20),
        st.lists(st.integers(0, 10_000), max_size=8),
        st.lists(st.integers(0, 10_000), max_size=8),
    )
    def test_both_ends(self, size: int, number: int, there: list[int], back: list[int]) -> None:
        """However the bytes are cut, every message is answered with its SHA-1, in order."""
        asking, answering = Asking(size, bytes(range(256)) * 2), Answering(RUN)
        messages = [asking.message(lambda: 1.0) for _ in range(number)]
        self.assertEqual({len(message) for message in messages} - {size}, set())
        said = b"".join(map(answering.feed, pieces(greeting(RUN, size, "web1") + b"".join(messages), there)))
        self.assertEqual(said, b"".join(sha1(message).digest() for message in messages))
        for piece in pieces(said, back):
            asking.feed(piece, 1.5)
        self.assertEqual((asking.sent, asking.answered, asking.mismatches, asking.awaited), (number, number, 0, 0))
        self.assertEqual(len(set(messages)), number)
        if number:
            self.assertLess(abs(asking.latencies.quantile(0.5) - 0.5), 0.006)
            self.assertEqual(asking.longest, 0.5)

    def test_corrupted(self) -> None:
        """One byte that is changed on the way, or in the answer, is one mismatch."""
        for spoil_answer in (False, True):
            asking, answering = Asking(64, bytes(64)), Answering(RUN)
            answering.feed(greeting(RUN, 64, "web1"))
            for number in range(5):
                message = bytearray(asking.message(lambda: 0.0))
                message[40] ^= not spoil_answer and number == 2
                answer = bytearray(answering.feed(bytes(message)))
                answer[7] ^= spoil_answer and number == 2
                asking.feed(bytes(answer), 0.001)
            self.assertEqual((asking.answered, asking.mismatches), (5, 1))

    def test_not_asked_for(self) -> None:
        """An answer too many is a mismatch."""
        asking = Asking(8, bytes(8))
        asking.feed(bytes(2 * DIGEST), 1.0)
        self.assertEqual((asking.answered, asking.mismatches), (0, 2))

    def test_strangers(self) -> None:
        """Who does not name the run, or wants what nobody should, is not answered."""
        for line in (
            b"GET / HTTP/1.1\r\n",
            greeting("another", 64, "web1"),
            greeting(RUN, 0, "web1"),
            greeting(RUN, MAX_MESSAGE + 1, "web1"),
            f"perfmon-echo {RUN} many web1\n".encode(),
            f"perfmon-echo {RUN} -5 web1\n".encode(),
            f"perfmon-echo {RUN} 64\n".encode(),
            b"x" * 2_000,
            b"\xff" * 1_000 + b"\n",
        ):
            with self.assertRaises(BadGreeting, msg=line):
                Answering(RUN).feed(line)
        waiting = Answering(RUN)
        self.assertEqual(waiting.feed(b"perfmon-echo "), b"")
