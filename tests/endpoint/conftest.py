"""The service over an installation, in this process."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from planner.worlds import World, build_world
from published_by_hand import Installation
from receiver import Receiver, receiving

from endpoint.app import create_app
from msgmetrics.settings import Settings


@pytest.fixture(scope="session")
def world() -> World:
    """Messages of 60 days from 27 February 2024 on; read only."""
    return build_world(seed=1, messages=350)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return Installation(Settings(home=tmp_path, rate_limit=100_000))


@pytest.fixture
def client_of() -> Iterator[Callable[[Installation], TestClient]]:
    """In-process clients, each over an installation; they raise what the service lets through."""

    def make(installation: Installation) -> TestClient:
        return clients.enter_context(TestClient(create_app(installation.settings)))

    with ExitStack() as clients:
        yield make
