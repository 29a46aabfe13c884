"""The names of all keys. A host stands in braces, so the keys of one host share a slot of a cluster.

Host names hold neither braces nor white space (see `perfmon.core.names`), so no escaping is needed.
"""

from perfmon.core.tiers import WindowName

# Known hosts by the time of their last sign (s), and those of them that are present.
HOSTS = "pm:hosts"
PRESENT = "pm:present"

# A stream of arrivals, departures and the like.
EVENTS = "pm:events"

# What people want of hosts.
CONTROL = "pm:control"

# Collectors by when they last renewed their lease (s, by the store's clock).
COLLECTORS = "pm:collectors"

# Benchmark runs by when they were asked for (s), and those that are not over by when they have to be.
RUNS = "pm:runs"
OPEN_RUNS = "pm:runs:open"

# What people have noted of hosts.
NOTES = "pm:notes"

# An id of the data: another one stands here once a store was emptied.
EPOCH = "pm:epoch"


def run(id: str) -> str:
    """What was asked for by a benchmark run, and how it is on each host."""
    return f"pm:run:{id}"


def run_output(id: str) -> str:
    """What the programs have written that a benchmark run has started, by host."""
    return f"pm:run:{id}:output"


def windows(host: str, tier: str) -> str:
    """What the keys of all windows of a host in a tier begin with."""
    return f"pm:{{{host}}}:{tier}:"


def window(name: WindowName) -> str:
    """The sealed part of one window: metrics and their chunks."""
    return f"{windows(name.host, name.tier)}{name.window}"


def head(name: WindowName) -> str:
    """The open, append-only log of one window."""
    return f"pm:{{{name.host}}}:{name.tier}:{name.window}:head"  # one step: there are a thousand in a commit


def sealing(name: WindowName) -> str:
    """A head that a sealer has taken, and whose samples are not in the window yet."""
    return f"{window(name)}:sealing"


def meta(host: str) -> str:
    """What is known of a host beside its samples."""
    return f"pm:{{{host}}}:meta"


def of_host(host: str) -> str:
    """A pattern of the store's that all keys of a host match, and no others."""
    return f"pm:{{{host}}}:*"


def open_windows(tier: str) -> str:
    """Windows that `tier` does not have yet, by the time they are due (s)."""
    return f"pm:open:{tier}"
