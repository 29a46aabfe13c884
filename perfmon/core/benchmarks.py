"""Benchmark runs as they are kept and described: one specification, and how it is on each host.

A run is a hash: its field ``spec`` is JSON, and each field ``host NAME`` how it is there, JSON behind a letter: ``P``
while it goes on, ``F`` when it has ended, after which nothing changes it.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import msgspec

from perfmon.core.loads import MAIN_FIGURE
from perfmon.core.stats import mean_and_deviation

# A run has so many hosts at most: they are told of one by one.
MAX_HOSTS = 10_000

# Between the order of a run and its start, if nothing else is asked for: every agent is to be ready by then.
LEAD = 3.0  # s

# A host that has not told of its end so long after it was due is lost.
LOST_AFTER = 45.0  # s

# How it may be on a host; the last five are ends.
STATES = ("waiting", "ready", "running", "done", "failed", "refused", "cancelled", "lost")
ENDED = frozenset(STATES[3:])

SPEC, CANCELLED = "spec", "cancelled"

# Start of a run that waits for its hosts, which are busy with others.
QUEUED = 0.0
_HOST = "host "


@dataclass(frozen=True, slots=True)
class Spec:
    """What was asked for."""

    id: str
    kind: str
    parameters: dict[str, float | int | bool | str]
    hosts: list[str]
    created: float  # s since the epoch
    start: float  # the same; `QUEUED` for one that waits
    seconds: float  # how long it is to take

    def encode(self) -> str:
        return msgspec.json.encode(self).decode()

    @classmethod
    def decode(cls, text: str) -> "Spec":
        """What `encode` gave."""
        return msgspec.json.decode(text, type=cls)

    @property
    def due(self) -> float:
        """When every host has to have told of its end (s since the epoch)."""
        return self.start + self.seconds + LOST_AFTER


@dataclass(frozen=True, slots=True)
class HostRun:
    """A run on one host."""

    state: str = "waiting"
    reason: str = ""
    began: float | None = None  # s since the epoch, by the collector's clock
    share: float = 0.0  # of its time
    expected: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)
    pairs: dict[str, dict[str, Any]] = field(default_factory=dict)  # figures by the host at the other end
    output: bool = False  # whether the output of the program that was run is kept

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    def encode(self) -> str:
        return ("F" if self.ended else "P") + msgspec.json.encode(self).decode()

    @classmethod
    def decode(cls, text: str) -> "HostRun":
        """What `encode` gave."""
        return msgspec.json.decode(text[1:], type=cls)


def host_field(host: str) -> str:
    return f"{_HOST}{host}"


def hosts_of(fields: Mapping[str, str]) -> dict[str, HostRun]:
    """How a run is on each of its hosts that has told of it."""
    return {name.removeprefix(_HOST): HostRun.decode(value) for name, value in fields.items() if name.startswith(_HOST)}


def state_of(spec: Spec, runs: Mapping[str, HostRun], cancelled: bool) -> str:
    """How the whole is: ``partial`` where some hosts are done and others never will be.

    The others are ``queued``, ``waiting`` (for its start), ``running``, ``done``, ``failed`` and ``cancelled``.
    """
    states = [runs[host].state if host in runs else "waiting" for host in spec.hosts]
    if spec.start == QUEUED and not cancelled:
        return "queued"
    if not all(state in ENDED for state in states):
        return "running" if any(state == "running" or state in ENDED for state in states) else "waiting"
    if all(state == "done" for state in states):
        return "done"
    if cancelled:
        return "cancelled"
    return "partial" if "done" in states else "failed"


def described(fields: Mapping[str, str]) -> dict[str, Any]:
    """A run as the API tells of it."""
    spec, runs = Spec.decode(fields[SPEC]), hosts_of(fields)
    hosts = {host: runs.get(host, HostRun()) for host in spec.hosts}
    begun = [run.began for run in hosts.values() if run.began is not None]
    return {
        **summary(fields),
        "cancelled": fields.get(CANCELLED),
        "skew": max(begun) - min(begun) if begun else None,
        "latest_start": max(abs(began - spec.start) for began in begun) if begun else None,
        "totals": totals(hosts),
        "hosts": {host: asdict(run) for host, run in hosts.items()},
    }


def summary(fields: Mapping[str, str]) -> dict[str, Any]:
    """A run in a few words."""
    spec, runs = Spec.decode(fields[SPEC]), hosts_of(fields)
    states = [runs[host].state if host in runs else "waiting" for host in spec.hosts]
    return {
        "id": spec.id,
        "kind": spec.kind,
        "parameters": spec.parameters,
        "created": spec.created,
        "start": spec.start if spec.start != QUEUED else None,
        "seconds": spec.seconds,
        "state": state_of(spec, runs, CANCELLED in fields),
        "counts": {state: states.count(state) for state in STATES if state in states},
    }


def totals(hosts: Mapping[str, HostRun]) -> dict[str, float | int] | None:
    """Of the main figure over all hosts that are done; None where none is."""
    rates = [
        float(run.figures[MAIN_FIGURE]) for run in hosts.values() if run.state == "done" and MAIN_FIGURE in run.figures
    ]
    if not rates:
        return None
    mean, deviation = mean_and_deviation(rates)
    return {
        "hosts": len(rates),
        "sum": sum(rates),
        "mean": mean,
        "deviation": deviation,
        "min": min(rates),
        "max": max(rates),
    }
