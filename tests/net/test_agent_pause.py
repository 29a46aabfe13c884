"""Tests for `perfmon.net.agent_session`: what happens while the intake takes no more, and after that."""

from tests.net.case import CPU, NOW, PortCase, ack, samples


class PauseTests(PortCase):
    def test_deaf(self) -> None:
        """While the intake is paused samples stay with the agent, and signs of life go on."""
        peer = self.agent()
        peer.send(CPU)
        self.intake.pause()
        peer.send(samples(1, [1, 2]), {"type": "heartbeat", "time": 1})
        self.assertEqual(peer.producerState, "producing")
        self.assertEqual(peer.received(), [{"type": "echo", "time": 1.0, "at": NOW}])
        self.assertEqual((self.intake.rows, self.session().samples), ([], 0))
        self.assertFalse(peer.closed)

    def test_again(self) -> None:
        """When the intake goes on, an agent whose samples were left out is asked to send them again."""
        peer, other = self.agent(), self.agent(host="web2")
        peer.send(CPU)
        self.intake.pause()
        peer.send(samples(4, [1, 2]), samples(5, [3, 4]))
        self.intake.resume()
        self.assertEqual((peer.received(), other.received()), ([{"type": "resend", "seq": 4}], []))
        peer.send(samples(4, [1, 2]), samples(5, [3, 4]))
        self.assertEqual([value for *_, value in self.intake.samples()], [1, 2, 3, 4])
        self.intake.store()
        self.assertEqual(peer.received(), [ack(4), ack(5)])

    def test_none_before_its_turn(self) -> None:
        """What comes before the round that was left out is not taken: its ack would cover that round too."""
        peer = self.agent()
        peer.send(CPU)
        self.intake.pause()
        peer.send(samples(1, [1, 2]))
        self.intake.resume()
        peer.send(samples(2, [3, 4]), samples(1, [1, 2]), samples(2, [3, 4]))
        self.assertEqual([value for *_, value in self.intake.samples()], [1, 2, 3, 4])

    def test_paused_once_more(self) -> None:
        """A pause before the rounds have come again leaves them out again, and asks for them again."""
        peer = self.agent()
        peer.send(CPU)
        for _ in range(2):
            self.intake.pause()
            peer.send(samples(1, [1, 2]), samples(2, [3, 4]))
            self.intake.resume()
            self.assertEqual(peer.received(), [{"type": "resend", "seq": 1}])
        # the agent has sent them for each time that it was asked; what was stored is not acknowledged twice
        peer.send(*[samples(1, [1, 2]), samples(2, [3, 4])] * 2)
        self.intake.store()
        self.assertEqual(peer.received(), [ack(1), ack(2)])

    def test_never_again(self) -> None:
        """An agent that does not send again what it was asked for is cut off, for nothing else of it is taken."""
        peer = self.agent()
        peer.send(CPU)
        self.intake.pause()
        peer.send(samples(1, [1, 2]))
        self.intake.resume()
        self.clock.advance(14)
        self.assertFalse(peer.closed)
        self.clock.advance(1)
        self.assertTrue(peer.aborted)

    def test_nothing_left_out(self) -> None:
        """An agent that sent no samples meanwhile goes on as before."""
        peer = self.agent()
        peer.send(CPU)
        self.intake.pause()
        self.intake.resume()
        peer.send(samples(1, [1, 2]))
        self.assertEqual((peer.closed, len(self.intake.rows)), (False, 1))

    def test_new_while_paused(self) -> None:
        """An agent that comes while the intake is paused is welcome, and its samples wait."""
        self.intake.pause()
        peer = self.agent()
        peer.send(CPU, samples(1, [1, 2]))
        self.assertEqual(self.intake.rows, [])
        self.intake.resume()
        self.assertEqual(peer.received(), [{"type": "resend", "seq": 1}])

    def test_gone_while_asked(self) -> None:
        """An agent that leaves before it has sent again leaves nothing behind."""
        self.intake.pause()
        peer = self.agent()
        peer.send(CPU, samples(1, [1, 2]))
        self.intake.resume()
        peer.drop()
