"""Pictures of the page for the docs: its views, light and dark, of a fleet that is simulated.

make screenshots
"""

import signal
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, sync_playwright

from perfmon.core.simulated_fleet import SimulatedFleet
from tests.integration.harness import TWISTD, Agent, Collector, Running, eventually
from tests.integration.simulated_past import simulated_past
from tests.programs import CHROMIUM

FOLDER = Path(__file__).parent.parent.parent / "docs" / "screenshots"
SIZE = {"width": 1400, "height": 900}

# How many machines there are, by how their names begin; the rest is as the simulator has it by default.
FLEETS = {"web": 24, "db": 6, "build": 4}
METRICS, INTERVAL, IDLE_SHARE = 100, 10.0, 0.2
PAST = 3_600  # s of history before the machines connect

VIEWS = {
    "fleet": "/",
    "host": "/#/hosts/web00007?range=1h",
    "explore": "/#/explore?host=web*&range=1h",
    "events": "/#/events",
    "rightsizing": "/#/rightsizing/web00001?window=1h",
}
# What is there when a view shows all.
SHOWS = {
    "fleet": "tr:has-text('build00001') td.network:has-text('/s')",
    "host": "figure:last-of-type canvas",
    "explore": "figure canvas",
    "events": "#events li",
    "rightsizing": "#rightsizing figure:last-of-type canvas",
}


def seed(prefix: str) -> int:
    """Another one for each fleet, lest their machines be the same."""
    return sum(prefix.encode())


def scene(stack: ExitStack, folder: Path) -> Collector:
    """A collector with a fleet that has a past, and with hosts that have just gone."""

    def kept(running: Running) -> Running:
        stack.callback(running.stop)
        return running

    collector = Collector(folder, "--name", "monitor", "--interval", "2s", "--heartbeat-timeout", "4s").ready()
    stack.callback(collector.stop)
    now = time.time()
    for prefix, hosts in FLEETS.items():
        fleet = SimulatedFleet(hosts, METRICS, INTERVAL, IDLE_SHARE, seed(prefix), now)
        collector.send(simulated_past(fleet, prefix, hosts, np.arange(now - PAST, now, INTERVAL)))
    total = sum(FLEETS.values())
    eventually(lambda: collector.get("/status")["hosts"].get("up", 0) > total, "the past to be stored")
    for prefix, hosts in FLEETS.items():
        options = (
            "--agents",
            str(hosts),
            "--prefix",
            prefix,
            "--seed",
            str(seed(prefix)),
            "--idle-share",
            str(IDLE_SHARE),
        )
        command = [str(TWISTD), "-n", "--pidfile=", "perfmon-simulator", "--server", f"127.0.0.1:{collector.port}"]
        kept(Running([*command, *options], folder))
    gone = [Agent(folder, collector.port, name, "--label", "role=backup") for name in ("backup1", "backup2")]
    eventually(lambda: all(collector.state(name) == "up" for name in ("backup1", "backup2")), "the agents to be up")
    collector.send(f"mail1.queue.length 7 {int(now)}\n")
    gone[0].signal(signal.SIGKILL)
    kept(gone[0])
    gone[1].stop()
    eventually(lambda: collector.state("backup1") == "departed", "backup1 to depart")
    return collector


def take(browser: Browser, collector: Collector) -> None:
    """One picture of each view in each scheme."""
    for scheme in ("light", "dark"):
        for name, path in VIEWS.items():
            context = browser.new_context(viewport=SIZE, color_scheme=scheme)  # type: ignore[arg-type]  # one of two words
            page = context.new_page()
            page.goto(collector.url + path)
            page.wait_for_selector(SHOWS[name], timeout=60_000)
            page.screenshot(path=FOLDER / f"{name}-{scheme}.png", animations="disabled")
            context.close()


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pm-")))
        collector = scene(stack, folder)
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        take(browser, collector)
        browser.close()


if __name__ == "__main__":
    main()
