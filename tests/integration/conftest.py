"""Leaves out what needs a program that is not installed; CI installs them all, and leaves out nothing."""

from tests.programs import COLLECTD, STORE_SERVERS

collect_ignore = [] if COLLECTD is not None else ["test_collectd.py"]


def pytest_report_header() -> list[str]:
    missing = [
        name for name, there in (("collectd", COLLECTD), ("redis-server", STORE_SERVERS.get("redis"))) if not there
    ]
    return [f"not installed, so perfmon is not tested with it: {', '.join(missing)}"] if missing else []
