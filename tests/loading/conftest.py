"""Landing zones with a warehouse each."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from zone import Zone  # noqa: E402


@pytest.fixture
def new_zone(tmp_path: Path) -> Iterator[Callable[[], Zone]]:
    """Makes zones that know nothing of each other."""
    zones: list[Zone] = []

    def make() -> Zone:
        zones.append(Zone(tmp_path / f"zone {len(zones)}"))
        return zones[-1]

    yield make
    for zone in zones:
        zone.close()


@pytest.fixture
def zone(new_zone: Callable[[], Zone]) -> Zone:
    return new_zone()
