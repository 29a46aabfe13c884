"""What a host and a metric may be called, and how the tags of a metric are put in order.

The rules of tags are Graphite's (graphite.readthedocs.io, "Graphite Tag Support"): a tag's name has no
``;!^=`` and its value no ``;`` and no leading ``~``.
"""

import re
from collections.abc import Iterable
from functools import lru_cache

MAX_HOST = 253  # characters; the longest name that DNS can carry
MAX_METRIC = 1024  # bytes of UTF-8; an OpenTelemetry name with every tag it defines stays below 300

# Metrics whose check is remembered. A host has some hundreds, and those of a fleet are mostly the same: this holds
# the names of many kinds of hosts in about 12 MB, and of hostile ones, all as long as they may be, in 80 MB.
_REMEMBERED = 1 << 16

HOST_RULE = f"a host's name has 1 to {MAX_HOST} characters of A-Z a-z 0-9 . _ : @ + -, the first a letter, digit or _"

_HOST = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9._:@+-]{{0,{MAX_HOST - 1}}}")
_TAG_NAME = re.compile(r"[^;!^=]+")


class BadName(ValueError):
    """A host or a metric that cannot be stored under the name it was given; `str()` says why."""


def checked_host(name: str) -> str:
    """The same `name`, which is then safe in a key, a URL and a glob.

    Raises `BadName`.
    """
    if _HOST.fullmatch(name) is None:
        raise BadName(f"bad host name {name[:80]!r}: {HOST_RULE}")
    return name


def split_tags(metric: str) -> tuple[str, dict[str, str]]:
    """``"a.b;k=v"`` as its name and its tags. Raises `BadName` when a tag is malformed."""
    name, *parts = metric.split(";")
    tags: dict[str, str] = {}
    for part in parts:
        key, equals, value = part.partition("=")
        if not equals or not value or value.startswith("~") or _TAG_NAME.fullmatch(key) is None:
            raise BadName(f"bad tag {part[:80]!r} in {metric[:80]!r}: tags are written ;name=value")
        tags[key] = value
    return name, tags


def join_tags(name: str, tags: Iterable[tuple[str, str]]) -> str:
    """A metric in the one spelling it is stored under: its tags sorted by name."""
    return "".join([name, *(f";{key}={value}" for key, value in sorted(tags))])


@lru_cache(_REMEMBERED)
def checked_metric(metric: str) -> str:
    """`metric` with its tags sorted; as a rule the same object for the same metric, so a fleet keeps each name once.

    Raises `BadName` for an empty or over-long name, white space, control characters and malformed tags.
    """
    if not metric or metric.startswith(";"):
        raise BadName("a metric needs a name")
    if len(metric.encode("utf-8", "replace")) > MAX_METRIC:
        raise BadName(f"metric name over {MAX_METRIC} bytes: {metric[:40]!r}...")
    if " " in metric or not metric.isprintable():
        raise BadName(f"white space or control character in metric {metric[:80]!r}")
    if ";" not in metric:
        return metric
    name, tags = split_tags(metric)
    return join_tags(name, tags.items())
