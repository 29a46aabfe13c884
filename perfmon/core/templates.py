"""Which part of a Graphite path is the host: its tag ``host``, or what a template says."""

from collections.abc import Sequence
from dataclasses import dataclass

from perfmon.core.names import BadName, checked_host, checked_metric, join_tags, split_tags
from perfmon.core.numbering import Numbering

# Beginnings of paths, and metrics, that are remembered: of a fleet that makes up new ones for ever, so many.
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
    """Finds the series of paths that are met for the first time, in about a microsecond.

    What paths have in common is worked out once: those of a host its beginning, those of a metric the metric.
    """

    def __init__(self, templates: Sequence[Template] = DEFAULT_TEMPLATES) -> None:
        self._templates = templates
        # a template with so many nodes or fewer looks at no other node of a path that has more
        self._depth = max(len(template.nodes) for template in templates)
        self._hosts: dict[str, tuple[str, str]] = {}  # beginning -> host, beginning of the metric
        self._metrics: dict[str, str] = {}  # metrics that can be stored: one object for all hosts

    def series(self, path: str, numbering: Numbering) -> int:
        """The series of `path`. Raises `BadName`."""
        *beginning, rest = path.split(".", self._depth)
        if len(beginning) < self._depth or ";" in path:
            return numbering.series(*split_path(path, self._templates))
        known = self._hosts.get(start := path[: -len(rest) - 1])
        if known is None:
            host, metric = split_path(start + ".x", self._templates)
            if len(self._hosts) >= _REMEMBERED:
                self._hosts.clear()
            known = self._hosts[start] = host, metric[:-1]
        host, before = known
        metric = before + rest
        checked = self._metrics.get(metric)
        if checked is None:
            if len(self._metrics) >= _REMEMBERED:
                self._metrics.clear()
            checked = self._metrics[metric] = checked_metric(metric)
        return numbering.series(host, checked)
