"""How probes spell a metric: its tags in order, and their values made safe and distinct."""

from collections.abc import Iterable

from perfmon.core.names import join_tags

MAX_VALUE = 400  # bytes of UTF-8; two such tags and a name stay below core.names.MAX_METRIC


def tagged(name: str, **tags: str) -> str:
    """The metric `name` with `tags`, whose values are safe already."""
    return join_tags(name, tags.items())


def safe(value: str) -> str:
    """`value` as the value of a tag: what a tag cannot hold becomes ``_``, what is too long is cut."""
    if not value.isprintable() or " " in value or ";" in value:
        value = "".join("_" if char in " ;" or not char.isprintable() else char for char in value)
    if len(value) > MAX_VALUE // 4:  # a character has at most 4 bytes
        value = value.encode()[:MAX_VALUE].decode("utf-8", "ignore")
    return f"_{value[1:]}" if value[:1] in ("", "~") else value


def distinct(values: Iterable[str]) -> list[str]:
    """`values`, made safe, in the same order; one that came before gets a number: ``a``, ``a_2``, ``a_3``."""
    taken: dict[str, None] = {}
    for value in values:
        base = candidate = safe(value)
        number = 1
        while candidate in taken:
            number += 1
            candidate = f"{base}_{number}"
        taken[candidate] = None
    return list(taken)
