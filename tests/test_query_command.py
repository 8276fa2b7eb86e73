"""What is said of a question that `msgmetrics query` cannot ask, in the words of its options."""

from pathlib import Path

import pytest

from msgmetrics.errors import UserError
from msgmetrics.querying import query, question_body
from msgmetrics.settings import Settings


def told(tmp_path: Path, **options: object) -> str:
    asked = {
        "metrics": ["TOTAL_TRAFFIC_COUNT"],
        "by": ["DAY"],
        "since": "2026-05-01",
        "until": "2026-05-02",
        "filters": [],
        "accounts": [],
    }
    body = question_body(**{**asked, **options}, subaccounts=False, components=False)
    with pytest.raises(UserError) as error:
        query(Settings(home=tmp_path), body)
    return str(error.value)


def test_a_name_that_is_not_in_the_catalogue_is_answered_with_those_that_are_near(tmp_path):
    sentence = told(tmp_path, metrics=["TOTAL_TRAFIC_COUNT"], by=["CHANNELS"])
    assert "--metrics: 'TOTAL_TRAFIC_COUNT' is no metric of the catalogue; near are " in sentence
    assert "TOTAL_TRAFFIC_COUNT" in sentence
    assert "--by: 'CHANNELS' is no dimension of the catalogue; near are CHANNEL_" in sentence
    assert "the README lists all dimensions" in told(tmp_path, by=["NOPE"])


def test_a_metric_that_is_known_and_does_not_fit_is_not_offered_again(tmp_path):
    sentence = told(tmp_path, metrics=["TRAFFIC_DELIVERY_RATE"], by=["URL"])
    assert "does not go with the dimension URL" in sentence
    assert "near are" not in sentence


def test_a_filter_that_is_not_known_is_answered_with_those_that_are(tmp_path):
    sentence = told(tmp_path, filters=["nope=1"])
    assert "--filter nope: is not known here; filters are accountKeys, " in sentence
    assert "timeToDeliver" in sentence


def test_a_moment_that_is_none_is_told_by_its_option_with_the_forms_it_may_have(tmp_path):
    sentence = told(tmp_path, since="05/01/2026")
    assert sentence.startswith("--from: must be a timestamp with an offset")
    assert sentence.endswith("or a day, as 2026-05-05.")


def test_a_filter_is_told_by_its_name(tmp_path):
    assert told(tmp_path, filters=["channelCodes=FAX"]).startswith("--filter channelCodes: 'FAX'")
