"""Debian's collectd with its write_graphite plugin, unchanged, as a sender."""

from tests.integration.harness import IntegrationTestCase, eventually
from tests.programs import COLLECTD

_CONFIG = """
Hostname "rack7"
FQDNLookup false
BaseDir "{folder}"
PIDFile "{folder}/collectd.pid"
TypesDB "/usr/share/collectd/types.db"
Interval 1
LoadPlugin cpu
LoadPlugin load
LoadPlugin memory
LoadPlugin write_graphite
<Plugin write_graphite>
  <Node "perfmon">
    Host "127.0.0.1"
    Port "{port}"
    Protocol "tcp"
    Prefix "collectd."
  </Node>
</Plugin>
"""


class CollectdTests(IntegrationTestCase):
    """A sender that is not ours."""

    def test_collectd_is_a_host(self) -> None:
        """collectd shows up as a host with its series, and their values are collectd's."""
        assert COLLECTD is not None
        collector = self.collector("--no-self").ready()
        config = self.folder / "collectd.conf"
        config.write_text(_CONFIG.format(folder=self.folder, port=collector.port))
        self.running(COLLECTD, "-f", "-C", str(config))
        eventually(lambda: len(collector.points("rack7", "load.load.shortterm")) > 1, "load from collectd")
        eventually(lambda: collector.points("rack7", "cpu-0.cpu-idle"), "the CPU's states")
        host = collector.get("/api/v1/hosts/rack7")
        self.assertEqual((host["state"], host["kind"]), ("up", "sender"))
        memory = [name for name in host["latest"] if name.startswith("memory.memory-")]
        self.assertGreater(sum(host["latest"][name]["value"] for name in memory), 1e8)
        times = [time for time, _ in collector.points("rack7", "load.load.shortterm")]
        self.assertEqual(len(set(times)), len(times))
        # collectd writes nan for the first value of a rate, which it cannot know yet: counted, not stored
        self.assertLessEqual(collector.get("/status")["samples"]["rejected_by_reason"].keys(), {"bad-value"})
