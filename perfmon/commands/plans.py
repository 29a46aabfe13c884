"""Plans: sets of benchmark runs, described by a TOML file.

[[run]]
kind = "disk-write"
on = "web*"          # a pattern of names; or label = "role=web"; or both
repeat = 3           # 1, if it is left out
seconds = 30         # everything else is a parameter of the kind
chunk = "10MiB"
"""

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# More runs than this are a mistake.
MAX_RUNS = 1_000

# Parameters that are sizes, and may be written as such.
_SIZES = frozenset({"chunk", "roll", "bs", "size"})


class BadPlan(ValueError):
    """The file is no plan; `str()` says why."""


@dataclass(frozen=True, slots=True)
class Planned:
    """One run."""

    kind: str
    on: str  # a pattern of names; empty: any
    label: str  # NAME=VALUE; empty: any
    parameters: dict[str, Any]


def parse_plan(text: str, size: Callable[[str], int]) -> list[Planned]:
    """The runs of a plan, in order; `size` reads a size such as ``10MiB``. Raises `BadPlan`, and what `size` does."""
    try:
        plan = tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        raise BadPlan(str(problem)) from None
    tables = plan.pop("run", None)
    if plan or not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
        raise BadPlan("a plan has tables [[run]], one for each run, and nothing else")
    runs = [run for number, table in enumerate(tables, 1) for run in _runs(table, number, size)]
    if len(runs) > MAX_RUNS:
        raise BadPlan(f"{len(runs)} runs, counted with their repeats: at most {MAX_RUNS}")
    return runs


def _runs(table: dict[str, Any], number: int, size: Callable[[str], int]) -> list[Planned]:
    texts = {name: table.pop(name, "") for name in ("kind", "on", "label")}
    repeat = table.pop("repeat", 1)
    for name, value in texts.items():
        if not isinstance(value, str):
            raise BadPlan(f"run {number}: {name} is a string")
    if not texts["kind"]:
        raise BadPlan(f'run {number}: kind is needed, such as kind = "cpu"')
    if not texts["on"] and not texts["label"]:
        raise BadPlan(f"run {number}: say which hosts with on, a pattern of names, or label, NAME=VALUE")
    if isinstance(repeat, bool) or not isinstance(repeat, int) or not 1 <= repeat <= MAX_RUNS:
        raise BadPlan(f"run {number}: repeat is 1 to {MAX_RUNS}")
    sizes = {name: size(value) for name, value in table.items() if name in _SIZES and isinstance(value, str)}
    return [Planned(**texts, parameters={**table, **sizes})] * repeat
