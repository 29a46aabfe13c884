"""Shell patterns over names: ``*`` any characters, ``?`` one, ``[ab]`` a set; several separated by commas."""

import fnmatch
import re
from collections.abc import Callable
from functools import lru_cache

MAX_GLOB = 1024  # characters


@lru_cache(maxsize=1024)
def matcher(pattern: str) -> Callable[[str], bool]:
    """Whether a name matches `pattern`. Raises ValueError for one that is too long.

    A metric matches by its name alone, too: ``system.cpu.utilization`` finds it with any tags.
    """
    if len(pattern) > MAX_GLOB:
        raise ValueError(f"pattern over {MAX_GLOB} characters")
    alternatives = "|".join(f"(?:{fnmatch.translate(part.strip())})" for part in pattern.split(","))
    match = re.compile(alternatives).match

    def matches(name: str) -> bool:
        return match(name) is not None or (";" in name and match(name[: name.index(";")]) is not None)

    return matches


def is_literal(pattern: str) -> bool:
    """Whether `pattern` can match only one name, itself (and, of a metric, the same with tags)."""
    return pattern == pattern.strip() and not any(special in pattern for special in "*?[,")
