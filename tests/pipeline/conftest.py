"""One real warehouse for this folder's tests: demo files, one pass through Dagster and dbt."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Home:
    """A MSGMETRICS_HOME, and the command line run in it as a user would."""

    path: Path

    @property
    def landing(self) -> Path:
        return self.path / "landing"

    @property
    def published(self) -> Path:
        return self.path / "published" / "msgmetrics.duckdb"

    def environment(self, **variables: str) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("MSGMETRICS_")}
        return {**inherited, "MSGMETRICS_HOME": str(self.path), **variables}

    def msgmetrics(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "msgmetrics.cli", *arguments],
            capture_output=True,
            text=True,
            env=self.environment(**variables),
            timeout=300,
        )


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """4,000 demo messages, loaded, built, checked and published."""
    home = Home(tmp_path_factory.mktemp("home"))
    arguments = ("--messages", "4000", "--days", "4", "--end", "2026-05-06T00:00:00Z")
    for command in (("demo", *arguments), ("run", "--json")):
        done = home.msgmetrics(*command)
        assert done.returncode == 0, done.stderr
    return home
