"""Where things lie and which knobs there are: the one reader of MSGMETRICS_* variables.

Every path and every option of the product comes from here; no other module reads the environment.
"""

import os
from datetime import date
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from msgmetrics.errors import UserError

PROJECT_ROOT = Path(__file__).resolve().parents[1]


class Settings(BaseSettings):
    """The product's settings, read from variables that begin with MSGMETRICS_."""

    model_config = SettingsConfigDict(env_prefix="MSGMETRICS_", env_ignore_empty=True)

    home: Path = Field(Path("var"), description="folder for all that the product writes")
    landing: Path | None = Field(
        None, description="landing zone, read only (default: $HOME/landing)"
    )
    currency: str = Field(
        "USD", pattern="^[A-Z]{3}$", description="ISO 4217 code of the warehouse's one currency"
    )
    landing_delay: float = Field(
        0, ge=0, le=366 * 86400, description="seconds by which landing lags behind sending"
    )
    rate_limit: int = Field(60, ge=1, description="requests a second that one API key may make")
    question_seconds: float = Field(
        60, gt=0, le=3600, description="seconds that a question may take that is answered at once"
    )
    asynchronous_seconds: float = Field(
        600,
        gt=0,
        le=86400,
        description="seconds that the question of an asynchronous request may take",
    )
    result_mebibytes: float = Field(
        2048,
        ge=0,
        le=2**20,
        description="MiB of results of asynchronous requests that are kept for one account",
    )
    stale_after: float = Field(
        86400,
        gt=0,
        le=3660 * 86400,
        description="seconds without a message after which answers are stale",
    )
    snapshot_hours: float = Field(
        24, ge=0, le=87600, description="hours for which earlier published snapshots stay readable"
    )
    trail_days: float = Field(
        90, gt=0, le=36600, description="days for which it is kept what restatements changed"
    )
    first_day: date = Field(
        date(2020, 1, 1), description="first day that Dagster shows and `backfill` takes"
    )
    run_days: float = Field(
        30, gt=0, le=3660, description="days for which Dagster's records of a run are kept"
    )
    compact_above: float = Field(
        0.25,
        ge=0,
        le=1,
        description="share of the warehouse file that may be free before nightly maintenance "
        "writes it anew",
    )
    memory: str = Field(
        "",
        pattern=r"^(\d{1,6}(\.\d+)?\s*([MGT]i?B))?$",
        description="memory limit of the warehouse, as 4GB; 1GB at least",
    )
    threads: int = Field(
        0, ge=0, le=1024, description="threads of the warehouse (0 = one for each core)"
    )
    checks_url: str = Field(
        "",
        pattern=r"^(https?://\S+[^/\s])?$",
        description="where the reports of the last gate are served, for links in the Dagster UI; "
        "`msgmetrics dev` sets it",
    )
    callback_allow: str = Field(
        "",
        description="internal hosts, host:port, addresses or CIDRs that callbacks may go to, "
        "as a comma list",
    )
    workers: int = Field(
        0,
        ge=0,
        le=64,
        description="processes of the endpoint (0 = one for each core, at most four)",
    )
    service_metrics: Literal["loopback", "on", "off"] = Field(
        "loopback",
        description="who sees the metrics of the service itself at /internal/metrics: whoever "
        "reaches it at a loopback address, everybody (on) or nobody (off)",
    )
    callback_pause: float = Field(
        5,
        gt=0,
        le=3600,
        description="seconds before a callback is tried again; four times as long each time after",
    )

    @property
    def landing_path(self) -> Path:
        return (self.landing or self.home / "landing").absolute()

    @property
    def warehouse_path(self) -> Path:
        return self.home.absolute() / "warehouse.duckdb"

    @property
    def work_dir(self) -> Path:
        """Short-lived files of a load; emptied when a run starts."""
        return self.home.absolute() / "work"

    @property
    def published_path(self) -> Path:
        """The stable name that readers open; it points to the current snapshot's file."""
        return self.home.absolute() / "published" / "msgmetrics.duckdb"

    @property
    def snapshots_dir(self) -> Path:
        return self.home.absolute() / "published" / "snapshots"

    @property
    def checks_dir(self) -> Path:
        """Reports of the last gate, HTML pages of a run in a folder of its own."""
        return self.home.absolute() / "checks"

    @property
    def endpoint_dir(self) -> Path:
        """API keys and the endpoint's own state."""
        return self.home.absolute() / "endpoint"

    @property
    def dagster_home(self) -> Path:
        return self.home.absolute() / "dagster"

    @property
    def dbt_target(self) -> Path:
        return self.home.absolute() / "dbt"

    @property
    def dbt_project_dir(self) -> Path:
        return PROJECT_ROOT / "dbt_project"

    @property
    def warehouse_threads(self) -> int:
        return self.threads or len(os.sched_getaffinity(0))


def settings() -> Settings:
    """The settings as the environment has them now.

    Raises UserError, one sentence a variable, where a value is not usable.
    """
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0])
        name = "MSGMETRICS_" + field.upper()
        expected = Settings.model_fields[field].description or ""
        if first["type"] != "string_pattern_mismatch":
            expected += f"; {first['msg'][:1].lower()}{first['msg'][1:]}"
        raise UserError(
            f"{name}={first['input']!r} is not usable ({expected}): change or unset it."
        ) from None
