"""How hard the generated tests try: as bounded as `make test` has to be, or `HYPOTHESIS_PROFILE=long` for a night."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"

# The same examples on every machine and every run: a failure is the change's doing. The long profile looks for new ones.
settings.register_profile("default", deadline=None, derandomize=True, print_blob=True)
settings.register_profile("long", deadline=None, derandomize=False, print_blob=True, max_examples=2000)


def load() -> None:
    """Put the profile of this run in force; before any test module is imported."""
    settings.load_profile("long" if LONG else "default")


def examples(count: int, *, long: int = 40, shrink: bool = True) -> settings:
    """`count` examples, `long` times as many in the long profile; a slow kernel is no failure.

    shrink: False where an example is slow: it is told as it was found, and made smaller by the long profile only.
    """
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much, HealthCheck.function_scoped_fixture]
    phases = [Phase.explicit, Phase.reuse, Phase.generate] + ([Phase.shrink] if shrink or LONG else [])
    return settings(phases=phases, max_examples=count * (long if LONG else 1), deadline=None, suppress_health_check=slow)
