"""Which part of a Graphite path is the host: its tag ``host``, or what a template says."""

from collections.abc import Sequence
from dataclasses import dataclass

from perfmon.core.names import BadName, checked_host, checked_metric, join_tags, split_tags
from perfmon.core.numbering import HostLog, Numbering

# Metrics that are remembered: a fleet that makes up new ones for ever must not fill the memory.
_REMEMBERED = 100_000


@dataclass(frozen=True, slots=True)
class Template:
    """A rule that finds the host in a path: ``servers.HOST``, ``dc.*.HOST``.

    Nodes must be equal, ``*`` stands for any one node, ``HOST`` is the host; what follows is the metric.
    """

    nodes: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> "Template":
        """Raises ValueError with a sentence for the person who wrote `text`."""
        nodes = tuple(text.split("."))
        if nodes.count("HOST") != 1 or not all(nodes):
            raise ValueError(
                f"Graphite template {text!r}: write nodes with dots between, one of them HOST: servers.HOST"
            )
        return cls(nodes)

    def match(self, nodes: Sequence[str]) -> tuple[str, str] | None:
        """(host, metric) of a path's nodes, None where the rule does not apply."""
        if len(nodes) <= len(self.nodes):
            return None
        if any(rule not in ("*", "HOST", node) for rule, node in zip(self.nodes, nodes, strict=False)):
            return None
        return nodes[self.nodes.index("HOST")], ".".join(nodes[len(self.nodes) :])


DEFAULT_TEMPLATES = tuple(
    Template.parse(rule) for rule in ("servers.HOST", "hosts.HOST", "collectd.HOST", "netdata.HOST", "HOST")
)


def split_path(path: str, templates: Sequence[Template] = DEFAULT_TEMPLATES) -> tuple[str, str]:
    """(host, metric) that a Graphite path names: by its tag ``host``, else by the first template that matches.

    Raises `BadName`.
    """
    name, tags = split_tags(path)
    host = tags.pop("host", None)
    if host is None:
        nodes = name.split(".")
        found = next(filter(None, (template.match(nodes) for template in templates)), None)
        if found is None:
            raise BadName(f"no host in path {path[:80]!r}: write HOST.METRIC, or a tag ;host=HOST")
        host, name = found
    return checked_host(host), checked_metric(join_tags(name, tags.items()))


class PathReader:
    """Finds the series of paths that are met for the first time, in about a microsecond each.

    What they have in common is worked out once: what paths of a host begin with, and what those of a metric end with.
    """

    def __init__(self, templates: Sequence[Template] = DEFAULT_TEMPLATES) -> None:
        self._templates = templates
        # a template with so many nodes or fewer looks at no other node of a path that has more
        self._depth = max(len(template.nodes) for template in templates)
        self._metrics: dict[bytes, str] = {}  # that can be stored, without tags: one object for all hosts
        # Of the last path: its numbering and log, how it began, and how metrics of paths that begin so begin.
        self._numbering: Numbering | None = None
        self._log: HostLog | None = None
        self._start = self._before = b""

    def series(self, paths: Sequence[bytes], numbering: Numbering, refused: dict[bytes, BadName]) -> list[int]:
        """The series of each of `paths`; -1 for one that can have none, and in `refused` why."""
        log, start, before = self._log, self._start, self._before
        if self._numbering is not numbering:
            self._numbering, log = numbering, None
        metrics = self._metrics
        found: list[int] = []
        run: list[str] = []  # metrics of `log` whose paths follow each other, whose series are not in `found` yet
        for path in paths:
            if log is not None:
                if path.startswith(start):
                    metric = metrics.get(before + path[len(start) :])
                    if metric is not None:
                        run.append(metric)
                        continue
                if run:
                    found += numbering.series_of_each(log, run)
                    run = []
            try:
                host, metric = split_path(_decoded(path), self._templates)
            except BadName as problem:
                refused[path] = problem
                found.append(-1)
                continue
            own = numbering.host(host)
            *nodes, rest = path.split(b".", self._depth)
            if len(nodes) == self._depth and b";" not in path:  # a tag may name the host
                log, start = own, path[: len(path) - len(rest)]
                before = metric.encode().removesuffix(rest)
                if len(metrics) >= _REMEMBERED:
                    metrics.clear()
                metrics[before + rest] = metric
            found.append(numbering.series_of(own, metric))
        if log is not None:
            found += numbering.series_of_each(log, run)
        self._log, self._start, self._before = log, start, before
        return found


def _decoded(path: bytes) -> str:
    try:
        return path.decode()
    except UnicodeDecodeError:
        raise BadName(f"path is not UTF-8: {repr(path[:80])[1:]}") from None
