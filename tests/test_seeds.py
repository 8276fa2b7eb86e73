"""Reference data: the seeds say what the libraries and tables they were taken from say."""

import csv
import html
import json
import re
from pathlib import Path

import mobile_codes
import pycountry

from msgmetrics.catalogue import catalogue

SEEDS = Path(__file__).parents[1] / "seeds"


def rows(name: str) -> list[dict[str, str]]:
    with (SEEDS / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def countries_of_the_library() -> list[dict[str, str]]:
    """ISO 3166-1 countries by number."""
    return [
        {"country_id": str(int(c.numeric)), "country_name": c.name, "alpha_2": c.alpha_2}
        for c in sorted(pycountry.countries, key=lambda c: int(c.numeric))
    ]


def networks_of_the_library() -> list[dict[str, str]]:
    """E.212 networks as MCC x 1000 + MNC; the brand, else the operator; the first listed counts."""
    listed = json.loads(
        (Path(mobile_codes.__file__).parent / "json/mnc_operators.json").read_text()
    )
    names: dict[int, str] = {}
    for mcc, mnc, brand, operator in listed:
        name = re.sub(r"\s+", " ", html.unescape(brand or operator or "")).strip()
        if mcc.isdigit() and mnc.isdigit() and name:
            names.setdefault(int(mcc) * 1000 + int(mnc), name)
    return [{"network_id": str(i), "network_name": names[i]} for i in sorted(names)]


def test_country_names_are_those_of_iso_3166():
    assert rows("countries") == countries_of_the_library()


def test_network_names_are_those_of_the_library_and_what_operators_added():
    known = {row["network_id"]: row for row in rows("networks")}
    assert [known.get(row["network_id"]) for row in networks_of_the_library()] == (
        networks_of_the_library()
    )


def test_every_seed_has_a_unique_key_and_no_blank_one():
    for file in SEEDS.rglob("*.csv"):
        table = rows(str(file.relative_to(SEEDS).with_suffix("")))
        keys = [next(iter(row.values())) for row in table]
        assert len(keys) == len(set(keys)) and all(keys), file.name


def test_error_groups_are_the_four_known_ones_or_none():
    groups = {row["error_group"] for row in rows("error_codes")}
    assert groups == {"", "OK", "HANDSET_ERRORS", "USER_ERRORS", "OPERATOR_ERRORS"}


def test_time_buckets_start_at_zero_and_rise():
    bounds = [bucket.seconds for bucket in catalogue().time_buckets.values()]
    assert bounds[0] == 0 and bounds == sorted(set(bounds)) and len(bounds) == 31


def test_defaults_of_event_types_are_listed_statuses_of_the_same_group():
    statuses = {row["status"]: row["status_group"] for row in rows("statuses")}
    for row in rows("event_types"):
        if row["bears_status"] == "true":
            assert statuses[row["default_status"]] == row["status_group"]
