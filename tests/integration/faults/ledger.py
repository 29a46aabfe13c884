"""What was seen on the wire between agents and collector: the independent record that the API is held against.

It reads the lines with a JSON parser of its own, and shares no code with what it watches over.
"""

import threading
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import orjson

Values = dict[str, float]  # metric -> value


@dataclass(slots=True)
class Host:
    """What is known of one host."""

    rounds: dict[int, Values] = field(default_factory=dict)  # by their time (ms since the epoch)
    acknowledged: set[int] = field(default_factory=set)  # times of those
    refused: dict[int, str] = field(default_factory=dict)  # times of rounds that will never be stored, and why
    gaps: list[tuple[float, float]] = field(default_factory=list)  # first and last time (s) of rounds given up
    # Moments (s since the epoch) at which something reached the socket of a collector that had taken the hello.
    signs: list[float] = field(default_factory=list)
    # Moments at which there may have been a sign: something reached a collector that has not answered the hello, and
    # nobody knows whether it was taken; or a link ended, and the host was there until then.
    perhaps: list[float] = field(default_factory=list)
    goodbyes: list[float] = field(default_factory=list)  # moments at which one had reached the collector
    expected: set[int] = field(default_factory=set)  # times (ms) of rounds that are known from an agent's disk
    seen: int = 0  # `samples` lines, those that came again included

    def copy(self) -> "Host":
        return Host(
            dict(self.rounds),
            set(self.acknowledged),
            dict(self.refused),
            list(self.gaps),
            list(self.signs),
            list(self.perhaps),
            list(self.goodbyes),
            set(self.expected),
            self.seen,
        )


@dataclass(slots=True)
class _Link:
    host: str = ""
    rest: dict[bool, bytes] = field(default_factory=lambda: {True: b"", False: b""})
    schemas: dict[int, list[str]] = field(default_factory=dict)
    times: dict[int, int] = field(default_factory=dict)  # seq -> time (ms) of what waits for an ack
    said: int = 0  # bytes of the agent
    heard: int = 0  # of them by the collector
    hello_ends: int = 0
    goodbye_ends: int = 0
    welcomed: bool = False
    turned_away: bool = False
    unsure: list[float] = field(default_factory=list)  # signs before the answer to the hello


class Ledger:
    """A witness of the routes between agents and collectors, for all hosts."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._links: dict[int, _Link] = defaultdict(_Link)
        self.hosts: dict[str, Host] = defaultdict(Host)
        self.contradictions: list[str] = []  # what must never be said

    def expect(self, host: str, times: set[int]) -> None:
        """Rounds of these times (ms) are known to have been sampled, from elsewhere than the wire."""
        with self._lock:
            self.hosts[host].expected |= times

    def copy(self) -> dict[str, Host]:
        """All hosts as they are now."""
        with self._lock:
            return {name: host.copy() for name, host in self.hosts.items()}

    # -- the witness

    def said(self, link: int, up: bool, data: bytes, at: float) -> None:
        with self._lock:
            one = self._links[link]
            *lines, one.rest[up] = (one.rest[up] + data).split(b"\n")
            for line in lines:
                if up:
                    one.said += len(line) + 1
                message = orjson.loads(line) if line.strip() else {"type": ""}
                (self._from_agent if up else self._from_collector)(one, message)

    def heard(self, link: int, up: bool, size: int, at: float) -> None:
        if not up:
            return
        with self._lock:
            one = self._links[link]
            one.heard += size
            if not one.hello_ends or one.heard < one.hello_ends or one.turned_away:
                return
            if one.welcomed:
                self.hosts[one.host].signs.append(at)
            else:
                one.unsure.append(at)
            if one.goodbye_ends and one.heard >= one.goodbye_ends:
                self.hosts[one.host].goodbyes.append(at)

    def ended(self, link: int, at: float) -> None:
        with self._lock:
            one = self._links.pop(link, None)
            if one is not None and one.host and not one.turned_away:
                self.hosts[one.host].perhaps += [*one.unsure, at]

    # -- what agents say

    def _from_agent(self, link: _Link, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "hello":
            link.host = str(message["host"])
            link.hello_ends = link.said
        elif kind == "metrics":
            link.schemas[message["id"]] = message["names"]
        elif kind == "samples":
            self._round(link, message)
        elif kind == "gap":
            self.hosts[link.host].gaps.append((message["start"], message["stop"]))
        elif kind == "goodbye":
            link.goodbye_ends = link.said

    def _round(self, link: _Link, message: dict[str, Any]) -> None:
        host = self.hosts[link.host]
        time = round(message["time"] * 1000)
        names = link.schemas.get(message["id"])
        found: list[float | None] = message["values"]
        if names is None or len(names) != len(found):
            self.contradictions.append(f"{link.host}: {len(found)} values at {time}, of metrics {names}")
            return
        values = {name: float(value) for name, value in zip(names, found, strict=True) if value is not None}
        if host.rounds.setdefault(time, values) != values:
            self.contradictions.append(f"{link.host}: the round of {time} came again with other values")
        link.times[message["seq"]] = time
        host.seen += 1

    # -- what collectors say

    def _from_collector(self, link: _Link, message: dict[str, Any]) -> None:
        kind, host = message["type"], self.hosts[link.host]
        if kind == "welcome":
            link.welcomed = True
            host.signs += link.unsure
            link.unsure.clear()
        elif kind == "error" and not link.welcomed:
            link.turned_away = True
            link.unsure.clear()
        elif kind == "ack":
            seq: int = message["seq"]
            for covered in [one for one in link.times if one <= seq]:
                host.acknowledged.add(link.times.pop(covered))
        elif kind == "refused":
            time = link.times.pop(message["seq"], None)
            if time is not None:
                host.refused[time] = str(message["reason"])
