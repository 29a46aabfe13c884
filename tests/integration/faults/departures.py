"""Which departures there must be, by the signs that were seen on the wire, against those that the collector named."""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tests.integration.faults.ledger import Host

# A host is to be named so long after its timeout, at the latest.
ALLOWED = 1.0  # s

# The clock of the wire and that of the collector are the same; what they stamp is not done at the same moment.
_EXACT = 0.01  # s


@dataclass(frozen=True, slots=True)
class Named:
    """A departure that the API tells of."""

    host: str
    at: float  # when the collector found it (s since the epoch)
    written: float  # when the store had it


@dataclass(frozen=True, slots=True)
class Blind:
    """A time in which no departure could be found, or none be written."""

    begin: float
    end: float
    restarted: bool = False  # the collector came up with all hosts as seen at the end
    store: bool = False  # the collector saw, but could not write


@dataclass(slots=True)
class Departures:
    """What came out."""

    expected: int = 0
    named: int = 0
    delays: list[float] = field(default_factory=list)  # s beyond the timeout, of those that nothing excuses
    false: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)

    @property
    def wrong(self) -> list[str]:
        """A sentence for each that is not as it should be."""
        return [
            *(f"false departure: {one}" for one in self.false),
            *(f"late departure: {one}" for one in self.late),
            *(f"departure named twice: {one}" for one in self.doubled),
        ]


def judged(
    hosts: Mapping[str, Host], named: Sequence[Named], blinds: Sequence[Blind], timeout: float, until: float
) -> Departures:
    """Holds `named` against the signs of `hosts` up to `until` (s since the epoch)."""
    judge = _Judge(sorted(blinds, key=lambda one: one.begin), timeout)
    of_host: dict[str, list[Named]] = {host: [] for host in hosts}
    for one in named:
        if one.at <= until:
            of_host.setdefault(one.host, []).append(one)
    for host, departures in of_host.items():
        judge.host(host, hosts.get(host, Host()), departures, until)
    return judge.found


class _Judge:
    def __init__(self, blinds: Sequence[Blind], timeout: float) -> None:
        self._blinds = blinds
        self._timeout = timeout
        self.found = Departures()

    def host(self, name: str, host: Host, named: Sequence[Named], until: float) -> None:
        signs = sorted({0.0, *host.signs})
        doubtful = sorted(host.perhaps)
        self.found.named += len(named)
        # The first sign of those that may have been told to nobody but the collector.
        returned = next((sign for sign in signs if sign), 0.0)
        of_silence: dict[int, list[Named]] = {}
        for one in named:
            of_silence.setdefault(bisect_left(signs, one.at) - 1, []).append(one)
        for place, (last, back) in enumerate(pairwise([*signs, max(until, signs[-1])])):
            departures: list[Named] = []
            maybe = doubtful[bisect_right(doubtful, last) : bisect_left(doubtful, back)]
            left = any(last - _EXACT <= goodbye < back for goodbye in host.goodbyes)
            for one in of_silence.get(place, []):
                text = f"{name} at {one.at:.3f}, {one.at - last:.3f} s after a sign"
                if one.at - last < self._timeout - _EXACT or (left and not self._ended_with(last)):
                    self.found.false.append(text)
                elif len(departures) > len(maybe):  # each doubtful sign may have been a return
                    self.found.doubled.append(text)
                else:
                    departures.append(one)
            unknown = self._never_written(returned, last)
            if last and not left:
                text = f"{name}, silent from {last:.3f} to {back:.3f}"
                self._silence(text, last, maybe, back, departures, unknown)
            if departures or left or unknown:
                returned = back

    def _never_written(self, returned: float, last: float) -> bool:
        """Whether a host that was there from `returned` to `last` was so while the store was away, and the collector
        ended before the store was back."""
        return any(
            self._store_away(returned, ended.begin)
            for ended in self._blinds
            if ended.restarted and ended.begin >= last - 1
        )

    def _store_away(self, begin: float, end: float) -> bool:
        """Whether it was so all that time."""
        for blind in self._blinds:  # in their order
            if blind.store and blind.begin <= begin:
                begin = max(begin, blind.end)
        return begin >= end

    def _silence(
        self,
        text: str,
        last: float,
        maybe: Sequence[float],
        back: float,
        departures: Sequence[Named],
        unknown: bool,
    ) -> None:
        """From the sign `last` until `back`; in between there may have been others.

        Of one that is `unknown` to the store nobody can tell that it has departed.
        """
        due = next((due for begin, end in pairwise([last, *maybe, back]) if (due := self._due(begin)) < end), None)
        if unknown and not departures:
            return
        self.found.expected += bool(departures or due is not None)
        if not departures:
            if due is not None:
                self.found.late.append(f"{text}: never named")
            return
        one = departures[0]
        away = any(blind.store and blind.begin < one.written and blind.end > last for blind in self._blinds)
        moment = one.at if away else one.written
        if due is not None and moment > due + _EXACT:
            self.found.late.append(f"{text}: named {moment - due:.3f} s too late")
        elif not away:
            begin = max(one for one in (last, *maybe) if one + self._timeout <= moment + _EXACT)
            if self._due(begin) == begin + self._timeout + ALLOWED:
                self.found.delays.append(moment - begin - self._timeout)

    def _ended_with(self, moment: float) -> bool:
        """Whether what reached the collector then may have ended with it."""
        return any(blind.restarted and blind.begin - 1 <= moment <= blind.end for blind in self._blinds)

    def _due(self, last: float) -> float:
        """When a silence that began at `last` is to be named at the latest."""
        due = last + self._timeout + ALLOWED
        for blind in self._blinds:
            if blind.store or blind.end <= last or blind.begin >= due:
                continue
            if blind.restarted:  # all that were there count as seen when it came up
                due = max(due, blind.end + self._timeout + ALLOWED)
            else:  # its clock stood still
                due += blind.end - max(blind.begin, last)
        return due
