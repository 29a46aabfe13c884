"""Settings of the whole suite."""

from hypothesis import HealthCheck, settings

# How long an example takes says more about the machine than about the code.
settings.register_profile("perfmon", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("perfmon")
