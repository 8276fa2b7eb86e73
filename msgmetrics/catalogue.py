"""The catalogue as Python objects: measures, metrics, dimensions, time buckets, channels.

Its home is `vars:` of dbt_project/dbt_project.yml, and seeds/channels.csv for the channels; this
module only reads them. How a metric becomes SQL stands in the dbt macros and the query planner.
"""

import csv
from functools import cache

import yaml
from pydantic import BaseModel, ConfigDict

from msgmetrics.settings import PROJECT_ROOT


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    description: str = ""


class Measure(_Entry):
    """An additive column of the facts and marts; type is its SQL type in the marts.

    flag: it is 0 or 1 for each message.
    """

    type: str = "bigint"
    flag: bool = False
    from_url: bool = False


class Metric(_Entry):
    """A sum of measures, or one sum over another.

    channels: codes of the channels that have it. url: the measures that it counts for one URL,
    empty if it does not go with URLs. bounded: its true value lies between 0 and 1.
    """

    title: str
    category: str
    unit: str
    numerator: tuple[str, ...]
    denominator: tuple[str, ...] = ()
    channels: tuple[str, ...]
    url: tuple[str, ...] = ()
    bounded: bool = False

    @property
    def is_rate(self) -> bool:
        return bool(self.denominator)

    @property
    def is_additive(self) -> bool:
        return not self.denominator

    @property
    def column(self) -> str:
        return self.name.lower()


class Dimension(_Entry):
    """What a number can be cut by, other than a time period.

    mart: the part of the name behind hourly_by_ and daily_by_. filter: its member of filterBy.
    name_of, seed: the id dimension whose name this is, and the reference table that names it.
    seconds: the column of `messages` with whole seconds; in_seconds: queries group by those.
    """

    mart: str
    type: str
    filter: str | None = None
    name_of: str | None = None
    seed: str | None = None
    seconds: str | None = None
    in_seconds: bool = False

    @property
    def column(self) -> str:
        return self.name.lower()


class TimeDimension(_Entry):
    """A period of sent_at, shown as its start."""


class TimeBucket(_Entry):
    """A range of durations, named by its lower bound; seconds is that bound, inclusive."""

    seconds: int


class Channel(BaseModel):
    model_config = ConfigDict(frozen=True)

    channel_code: str
    channel_name: str


class Catalogue(BaseModel):
    """All of it; the dictionaries are keyed by name and in catalogue order."""

    model_config = ConfigDict(frozen=True)

    measures: dict[str, Measure]
    metrics: dict[str, Metric]
    dimensions: dict[str, Dimension]
    time_dimensions: dict[str, TimeDimension]
    time_buckets: dict[str, TimeBucket]
    channels: dict[str, Channel]

    @property
    def marts(self) -> tuple[str, ...]:
        """The names behind hourly_by_ and daily_by_."""
        return tuple(dict.fromkeys(d.mart for d in self.dimensions.values()))


@cache
def catalogue() -> Catalogue:
    """The catalogue as the dbt project states it."""
    project = yaml.safe_load((PROJECT_ROOT / "dbt_project" / "dbt_project.yml").read_text("utf-8"))
    stated = project["vars"]
    with (PROJECT_ROOT / "seeds" / "channels.csv").open(newline="", encoding="utf-8") as file:
        channels = {row["channel_code"]: row for row in csv.DictReader(file)}
    channel_sets = {"all": list(channels), **stated["channel_sets"]}
    metrics = [{**m, "channels": channel_sets[m["channels"]]} for m in stated["metrics"]]

    def by_name(entries: list[dict]) -> dict[str, dict]:
        return {entry["name"]: entry for entry in entries}

    return Catalogue(
        measures=by_name(stated["measures"]),
        metrics=by_name(metrics),
        dimensions=by_name(stated["dimensions"]),
        time_dimensions=by_name(stated["time_dimensions"]),
        time_buckets=by_name(stated["time_buckets"]),
        channels=channels,
    )
