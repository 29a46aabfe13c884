"""What was sent and what became of it: each round is acknowledged once, in order, and none that was not sent."""

from collections import deque
from dataclasses import dataclass, field

from perfmon.core.latencies import Latencies


@dataclass(slots=True)
class Tally:
    """Rounds of a whole fleet."""

    sampled: int = 0
    sent: int = 0  # each counts once, however often it was sent
    repeated: int = 0  # sendings beyond the first
    acknowledged: int = 0
    refused: int = 0
    left_out: int = 0  # were due, and not even sampled
    wrong_acks: int = 0
    lost: int = 0  # connections that ended, and not because the simulation did
    connected: int = 0
    most_connected: int = 0
    latencies: Latencies = field(default_factory=Latencies)  # from the first sending to the acknowledgement

    @property
    def unacknowledged(self) -> int:
        """Those of which nobody knows yet what becomes of them."""
        return self.sampled - self.acknowledged - self.refused

    def connect(self) -> None:
        self.connected += 1
        self.most_connected = max(self.most_connected, self.connected)

    def disconnect(self, lost: bool) -> None:
        self.connected -= 1
        self.lost += lost


class Account:
    """The rounds of one agent, told to the fleet's tally. Their seqs rise by one from 1."""

    __slots__ = ("_acknowledged", "_open", "_sent", "_tally", "acknowledged")

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._open: deque[tuple[int, float]] = deque()  # seq, when it was first sent
        self._sent = 0  # the highest seq
        self._acknowledged = 0
        self.acknowledged = 0  # rounds

    def sent(self, seq: int, now: float) -> None:
        """A round goes out at `now` (s), for the first time or again."""
        if seq > self._sent:
            self._sent = seq
            self._open.append((seq, now))
            self._tally.sent += 1
        else:
            self._tally.repeated += 1

    def acknowledge(self, seq: int, now: float) -> bool:
        """Every round up to `seq` is stored. False if that cannot be: it was not sent, or all that was said before."""
        if not self._acknowledged < seq <= self._sent:
            self._tally.wrong_acks += 1
            return False
        self._acknowledged = seq
        rounds = 0
        while self._open and self._open[0][0] <= seq:
            self._tally.latencies.add(now - self._open.popleft()[1])
            rounds += 1
        self.acknowledged += rounds
        self._tally.acknowledged += rounds
        return True

    def refuse(self, seq: int) -> bool:
        """The round `seq` will never be stored. False if that cannot be: it does not wait for an answer."""
        for place, (waiting, _) in enumerate(self._open):
            if waiting == seq:
                del self._open[place]
                self._tally.refused += 1
                return True
        self._tally.wrong_acks += 1
        return False
