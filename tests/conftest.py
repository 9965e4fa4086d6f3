"""What all tests share."""

from __future__ import annotations

import os
import random

import pytest


@pytest.fixture(scope="session")
def seed() -> int:
    """The seed of randomised tests; SUBLET_SEED repeats a run."""
    return int(os.environ.get("SUBLET_SEED") or random.SystemRandom().randrange(1 << 30))


@pytest.fixture
def rng(seed: int) -> random.Random:
    print(f"SUBLET_SEED={seed}")
    return random.Random(seed)
