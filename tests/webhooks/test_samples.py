"""Each kind of payload, as the providers document it, is read as what the README says of it."""

import json
import re
from hashlib import blake2b
from pathlib import Path

import pytest
from archives import samples

from orchestration.webhooks.emails import mailbox
from orchestration.webhooks.providers import PROVIDERS
from orchestration.webhooks.reading import (
    CANONICAL,
    GUESSED,
    KNOWN,
    REFUSED,
    SET_ASIDE,
    UNDERSTOOD,
    meanings,
)
from orchestration.webhooks.requests import Outcome, outcomes, source_of

RECEIVED_AT = "2026-05-05T10:00:00Z"


def read(provider: str, body: object) -> list[Outcome]:
    line = json.dumps({"received_at": RECEIVED_AT, "body": body})
    return list(outcomes(line, source_of(f"webhooks/{provider}/account=acme/part-0.jsonl")))


EVERY = [(provider, sample) for provider in PROVIDERS for sample in samples(provider)]


@pytest.mark.parametrize(
    ("provider", "sample"), EVERY, ids=[f"{p}: {s['kind']}: {s['about']}" for p, s in EVERY]
)
def test_each_sample_is_read_as_its_kind(provider: str, sample: dict) -> None:
    treatment = PROVIDERS[provider].KINDS[sample["kind"]].treatment
    found = read(provider, sample["body"])
    assert found
    for outcome in found:
        if treatment == REFUSED:
            assert outcome.reading is None and outcome.reason
        else:
            assert outcome.reason is None
            assert outcome.reading.kind == sample["kind"]
            assert outcome.reading.is_set_aside == (treatment == SET_ASIDE)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_kind_has_a_sample(provider: str) -> None:
    assert {sample["kind"] for sample in samples(provider)} == set(PROVIDERS[provider].KINDS)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_code_of_a_table_means_a_code_that_is_ours(provider: str) -> None:
    from orchestration.loading.records import streams

    codes = {field.name: field.codes for s in streams().values() for field in s.fields}
    kinds = {k for k, kind in PROVIDERS[provider].KINDS.items() if kind.treatment != UNDERSTOOD}
    reference = Path(__file__).parents[2] / "seeds"
    known = {
        name: {line.split(",")[0] for line in (reference / f"{seed}.csv").open(encoding="utf-8")}
        for name, seed in (("status", "statuses"), ("error_code", "error_codes"))
    }
    for name, means in meanings(provider).items():
        assert means.event_type in ("", *codes["event_type"]), name
        assert means.bounce_type in ("", *codes["bounce_type"]), name
        assert means.drop_reason in ("", *codes["drop_reason"]), name
        assert means.status in ("", *known["status"]), name
        assert means.error_code in ("", *known["error_code"]), name
        assert means.code in ("", *codes["channel_code"], *codes["traffic_type"], *kinds), name


def test_the_models_rank_sources_as_the_loader_does() -> None:
    macros = (Path(__file__).parents[2] / "dbt_project/macros/source_rank.sql").read_text("utf-8")
    ranks = dict(re.findall(r"macro (\w+)_rank\(\) -%}(\d)", macros))
    assert ranks == {"canonical": str(CANONICAL), "known": str(KNOWN)}
    assert GUESSED < KNOWN < CANONICAL


def test_the_hash_of_a_recipient_is_the_one_that_the_readme_tells() -> None:
    spelled = b'["14c5d75ce93.dfd.64b469","a@b.example"]'
    told = blake2b(spelled, digest_size=8).hexdigest()
    assert mailbox("14c5d75ce93.dfd.64b469", "A <A@b.example>") == told
