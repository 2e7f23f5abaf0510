"""Settings of all tests."""

import os

from hypothesis import settings

# Shared machines pause: a slow example is no failure. In CI the same examples each time; elsewhere new ones.
settings.register_profile("jurist", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("jurist")
