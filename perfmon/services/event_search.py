"""Events as the API describes them."""

from dataclasses import asdict
from typing import Any

from perfmon.core.events import EventQuery
from perfmon.storage.store import Store

# Read at once, where only some of them are wanted: a millisecond or two of the store.
_CHUNK = 1_000


async def found_events(store: Store, query: EventQuery) -> list[dict[str, Any]]:
    """The events that are asked for, each with those of its hosts that are. Raises `StoreUnavailable`."""
    found: list[dict[str, Any]] = []
    since, until = query.since, query.until
    size = query.limit if query.all else _CHUNK
    while len(found) < query.limit:
        events = await store.events(since, size, query.newest, until)
        for event in events:
            hosts = query.hosts_of(event.kind, event.hosts)
            if hosts:
                found.append({**asdict(event), "hosts": hosts})
        if len(events) < size:
            break
        if query.newest:
            until = events[-1].id
        else:
            since = events[-1].id
    return found[: query.limit]
