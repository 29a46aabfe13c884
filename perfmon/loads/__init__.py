"""Loads that benchmarks put on a machine, each in a process of its own: see `perfmon.loads.__main__`."""
