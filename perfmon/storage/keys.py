"""The names of all keys. A host stands in braces, so the keys of one host share a slot of a cluster.

Host names hold neither braces nor white space (see `perfmon.core.names`), so no escaping is needed.
"""

from perfmon.core.tiers import HeadName

# Known hosts by the time of their last sign (s), and those of them that are present.
HOSTS = "pm:hosts"
PRESENT = "pm:present"

# A stream of arrivals, departures and the like.
EVENTS = "pm:events"


def head(name: HeadName) -> str:
    """The open, append-only log of one window."""
    return f"pm:{{{name.host}}}:{name.tier}:{name.window}:head"


def meta(host: str) -> str:
    """What is known of a host beside its samples."""
    return f"pm:{{{host}}}:meta"
