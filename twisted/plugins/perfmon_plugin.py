"""What `twistd --help` lists of perfmon: each line names a tap module, imported only when it is chosen."""

from twisted.application.service import ServiceMaker

collector = ServiceMaker("perfmon", "perfmon.server_tap", "perfmon: the collector and its page.", "perfmon")
agent = ServiceMaker("perfmon agent", "perfmon.agent_tap", "perfmon: samples this host and pushes.", "perfmon-agent")
simulator = ServiceMaker(
    "perfmon simulator", "perfmon.simulator_tap", "perfmon: simulates machines that push.", "perfmon-simulator"
)
