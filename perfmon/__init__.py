"""perfmon: event-driven monitoring for fleets of machines."""

from importlib.metadata import version

__version__ = version("perfmon")
