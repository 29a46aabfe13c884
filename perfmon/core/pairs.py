"""Who meets whom in a benchmark between machines, and when."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from perfmon.core.loads import MAX_SECONDS, BadLoad, Iperf3, Load, Paired

# Of so many hosts at most each meets each: 9,900 pairs. Every host has a result for every other one.
MAX_ALL = 100

# So much later than a test of iperf3 should have ended the next one begins: it takes a moment to begin, and to tell.
PAUSE = 3.0  # s

COLLECTOR = "collector"
"""The name of the peer where the collector is whom all send to: no host is one in such a run."""


@dataclass(frozen=True, slots=True)
class Meeting:
    """One test that a host makes."""

    peer: str  # the host that answers; `COLLECTOR` where the collector does
    after: float = 0.0  # s after the start of the run


def participants(load: Load, hosts: Sequence[str]) -> list[str]:
    """`hosts`, and whom they need to answer. Raises `BadLoad` where they are too few, or too many."""
    if not isinstance(load, Paired):
        return list(hosts)
    if load.to:
        found = list(dict.fromkeys([*hosts, load.to]))
        if len(found) < 2:
            raise BadLoad(f"{load.to} is to answer, but nobody to send: name other hosts, too")
    else:
        found = list(hosts)
        if load.pairs in ("ring", "all") and len(found) < 2:
            raise BadLoad(f"pairs {load.pairs} needs two hosts at least, and there is one")
        if load.pairs == "all" and len(found) > MAX_ALL:
            raise BadLoad(f"pairs all is for at most {MAX_ALL} hosts, and these are {len(found)}: take ring")
    if duration(load, found) > MAX_SECONDS:
        raise BadLoad(f"one test after the other would take {duration(load, found):,.0f} s: at most {MAX_SECONDS:,.0f}")
    return found


def meetings(load: Paired, hosts: Sequence[str]) -> Mapping[str, list[Meeting]]:
    """What each of `hosts` does, in order.

    With iperf3 nobody has two tests at once, in either part: in round r of all pairs the host at place i tests against
    the one at place i + r, so each is asked once (the circle method of round-robin tournaments).
    """
    step = load.seconds + PAUSE if isinstance(load, Iperf3) else 0.0
    if load.to:
        senders = [host for host in hosts if host != load.to]
        return {load.to: []} | {host: [Meeting(load.to, step * at)] for at, host in enumerate(senders)}
    if load.pairs == "collector":
        return {host: [Meeting(COLLECTOR)] for host in hosts}
    rounds = range(1, len(hosts) if load.pairs == "all" else 2)
    return {
        host: [Meeting(hosts[(place + number) % len(hosts)], step * (number - 1)) for number in rounds]
        for place, host in enumerate(hosts)
    }


def duration(load: Load, hosts: Sequence[str]) -> float:
    """How long a run on `hosts` takes (s)."""
    if not isinstance(load, Iperf3):
        return load.seconds
    rounds = 1 if not load.to and load.pairs == "ring" else len(hosts) - 1
    return float(ceil(rounds * (load.seconds + PAUSE)))
