"""Shell patterns over names: ``*`` any characters, ``?`` one, ``[ab]`` a set; several separated by commas."""

import fnmatch
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

MAX_GLOB = 1024  # characters


@dataclass(frozen=True, slots=True)
class Pattern:
    """What names are asked for."""

    matches: Callable[[str], bool]
    names: tuple[str, ...]
    """The only names that can match (and, of a metric, those with tags); empty where there may be others."""


ALL = Pattern(lambda name: True, ())


@lru_cache(maxsize=1024)
def pattern(text: str) -> Pattern:
    """The pattern `text`. Raises ValueError for one that is too long.

    A metric matches by its name alone, too: ``system.cpu.utilization`` finds it with any tags.
    """
    if len(text) > MAX_GLOB:
        raise ValueError(f"pattern over {MAX_GLOB} characters")
    parts = [part.strip() for part in text.split(",")]
    if not any(special in part for part in parts for special in "*?["):
        names = dict.fromkeys(parts)
        if all(";" in name for name in names):
            return Pattern(frozenset(names).__contains__, tuple(names))
        return Pattern(lambda name: name in names or name.partition(";")[0] in names, tuple(names))
    match = re.compile("|".join(f"(?:{fnmatch.translate(part)})" for part in parts)).match

    def matches(name: str) -> bool:
        return match(name) is not None or (";" in name and match(name[: name.index(";")]) is not None)

    return Pattern(matches, ())
