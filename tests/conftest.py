"""Settings of all tests."""

from hypothesis import settings

# Shared machines pause: a slow example is no failure.
settings.register_profile("jurist", deadline=None)
settings.load_profile("jurist")
