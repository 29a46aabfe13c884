"""The metrics that a host's sampling rounds carry, in order: a schema that follows what the host has."""

from collections.abc import Mapping


def followed(names: list[str], values: Mapping[str, float]) -> list[str]:
    """`names` if `values` has no others; with the new ones at their end if it has.

    A host whose devices come and go makes up new names for ever: once most of them would be absent, it begins
    anew with those of `values`, so a schema is at most twice as long as the round that made it.
    """
    known = set(names)
    new = [name for name in values if name not in known]
    if not new:
        return names
    return [*names, *new] if len(names) + len(new) <= 2 * len(values) else list(values)
