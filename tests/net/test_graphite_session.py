"""Tests for `perfmon.net.graphite_session`, over the collector's port."""

from collections import Counter

from perfmon.core.graphite import MAX_LINE
from perfmon.core.reject import BAD_LINE, BAD_NAME, BAD_VALUE, FUTURE, LONG_LINE, TOO_OLD
from perfmon.core.templates import DEFAULT_TEMPLATES, Template
from perfmon.net.graphite_session import SIGN_INTERVAL
from tests.net.case import NOW, PortCase
from tests.net.recording import RecordingIntake

TIME = int(NOW)


class GraphiteSessionTests(PortCase):
    def test_lines(self) -> None:
        """Lines become samples, in their order; there is never an answer."""
        peer = self.connect()
        peer.send(b"web1.cpu 0.5 %d\nservers.web2.load 3 %d\ncpu;host=web3;b=2;a=1 7 -1\n" % (TIME, TIME - 10))
        self.assertEqual(
            self.intake.samples(),
            [
                ("web1", "cpu", NOW, 0.5),
                ("web2", "load", NOW - 10, 3.0),
                ("web3", "cpu;a=1;b=2", NOW, 7.0),
            ],
        )
        self.assertEqual(peer.value(), b"")

    def test_every_cut(self) -> None:
        """Wherever the network cuts the stream, the samples are the same."""
        stream = b"web1.cpu 0.5 %d\nweb2.load 3 %d\n" % (TIME, TIME)
        for cut in range(len(stream) + 1):
            peer = self.connect()
            for piece in filter(None, (stream[:cut], stream[cut:])):
                peer.send(piece)
            self.assertEqual(self.intake.samples(), [("web1", "cpu", NOW, 0.5), ("web2", "load", NOW, 3.0)])
            self.intake.columns.clear()
            peer.drop()

    def test_unfinished(self) -> None:
        """A last line without its end is no sample, for it may have been cut off."""
        peer = self.connect()
        peer.send(b"web1.cpu 0.5 %d" % TIME)
        peer.drop()
        self.assertEqual((self.intake.samples(), self.refusals.noted), ([], []))

    def test_closed(self) -> None:
        """When the port closes it is told at once of whom was heard: nobody listens when the connections have ended."""
        peer = self.connect()
        peer.send(b"web1.cpu 1 -1\n")
        self.clock.advance(0)
        peer.send(b"web2.cpu 1 -1\n")
        self.assertEqual(self.presence.signs, [("web1", False)])
        self.factory.stopFactory()
        self.assertEqual(self.presence.signs, [("web1", False), ("web2", False)])
        self.assertFalse(peer.ended)
        self.clock.advance(0)
        self.assertEqual(len(self.presence.signs), 2)

    def test_templates(self) -> None:
        """The rules of the options find the host."""
        self.port(templates=(Template.parse("dc.*.HOST"), *DEFAULT_TEMPLATES))
        self.connect().send(b"dc.east.web1.cpu 1 -1\nweb2.cpu 2 -1\n")
        self.assertEqual([sample[:2] for sample in self.intake.samples()], [("web1", "cpu"), ("web2", "cpu")])

    def test_bad_lines(self) -> None:
        """A line that cannot be stored is counted with its reason and its peer; the others and the connection go on."""
        peer = self.connect()
        peer.send(
            b"web1.cpu 1 %d\nnonsense\nweb1.cpu x 1\nweb1.cpu nan -1\ncpu 1 -1\n" % TIME
            + b"web1.cpu 1 %d\nweb1.cpu 1 %d\nweb1.cpu 2 -1\n" % (TIME + 601, TIME - 2 * 86_400)
        )
        peer.send(b"x" * (MAX_LINE + 1) + b"\nweb1.cpu 3 -1\n")
        self.assertEqual([value for *_, value in self.intake.samples()], [1.0, 2.0, 3.0])
        self.assertEqual(
            Counter(self.refusals.reasons),
            Counter([BAD_LINE, BAD_VALUE, BAD_VALUE, BAD_NAME, FUTURE, TOO_OLD, LONG_LINE]),
        )
        self.assertEqual({peer for _, peer in self.refusals.noted}, {str(peer.getPeer())})
        self.assertFalse(peer.closed)

    def test_signs(self) -> None:
        """Every host that was named gave a sign of life, of a kind that no heartbeat is expected from."""
        peer = self.connect()
        peer.send(b"web1.cpu 1 -1\nweb2.cpu 1 -1\nweb1.load 1 -1\n")
        self.clock.advance(0)
        self.assertEqual(sorted(self.presence.signs), [("web1", False), ("web2", False)])

    def test_signs_are_few(self) -> None:
        """However fast the lines come, a host is told of once an interval, and none that was named is left out."""
        peer = self.connect()
        for number in range(100):
            peer.send(b"web1.cpu 1 -1\nother%d.cpu 1 -1\n" % number)
            self.clock.advance(SIGN_INTERVAL / 10)
        peer.drop()
        hosts = [host for host, _ in self.presence.signs]
        self.assertIn(hosts.count("web1"), range(9, 13))
        self.assertEqual(set(hosts), {"web1"} | {f"other{number}" for number in range(100)})

    def test_signs_of_the_last_lines(self) -> None:
        """A sender that connects, sends and is gone was there all the same."""
        peer = self.connect()
        peer.send(b"web1.cpu 1 -1\n")
        peer.drop()
        self.assertEqual(self.presence.signs, [("web1", False)])

    def test_nothing_stored_is_no_sign(self) -> None:
        """A host whose lines were all refused gave no sign."""
        self.connect().send(b"web1.cpu 1 1\n")
        self.clock.advance(SIGN_INTERVAL)
        self.assertEqual(self.presence.signs, [])

    def test_numbers_run_out(self) -> None:
        """When the numbering is full and begins anew, the connection goes on."""
        self.intake = RecordingIntake(max_series=2)
        self.port()
        peer = self.connect()
        for number in range(6):
            peer.send(b"web1.m%d %d -1\n" % (number, number))
        self.assertEqual(self.intake.numberings, 3)
        self.assertEqual(
            [(metric, value) for _, metric, _, value in self.intake.samples()],
            [(f"m{number}", float(number)) for number in range(6)],
        )
