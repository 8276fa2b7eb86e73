"""A landing zone and a warehouse for every test."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from zone import Zone  # noqa: E402


@pytest.fixture
def zone(tmp_path: Path) -> Zone:
    return Zone(tmp_path)
