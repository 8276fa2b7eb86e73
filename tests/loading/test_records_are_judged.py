"""Every value in every field, in every format: loaded as, or refused where, the reference does."""

import json
import re
from collections.abc import Iterator
from random import Random

import pytest
from raw_records import FORMATS, SOUND, VARYING, Spelled, file_of, load_cases, text_of, verdict
from reference.records import Refusal
from zone import Zone

from orchestration.loading.loader import Loader


def words(text: str) -> list[str]:
    return text.split()


RANDOM_RECORDS = 1000
JSON_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
NUMBERS = words("""
    0 1 -1 -0 -0.0 2 3.0 3.5 3.50 1.10 0.1 0.10 1e2 1E2 1e+2 12e-1 1.5e1 10e-1 1e0 1e-0 1e00 0e999
    32767 32768 32767.0 32767.5 2147483647 2147483648 -2147483648 -2147483649 2147483647.0
    9223372036854775807 9223372036854775808 -9223372036854775808 -9223372036854775809
    9223372036854775807.0 9223372036854775807.5 9.223372036854775807e18 12345678901234567890
    123456789012345678 1234567890123456789012345678901234567890 99999999999999999999999999999999
    999999999999.999999 999999999999.9999991 999999999999.9999990 999999999999.99999999999999
    1000000000000 1e11 1e12 9.99999999999999999e11 -0.000001 -0.0000000 0.000001 0.0000001 0.0000010
    1e-6 1e-7 1e-19 1e-400 1e400 -1e400 1e99999 1e-99999 1e999999999 1e99999999999999999999
    1.0000001 1.0000000
    1.000000000000000000000000000000000000000000000000000001 0.30000000000000004
    123456789.123456 1234567890.123456 3.00000000000000001 756.0 2.5e-1 25e-7 250e-7 1.10e1
""")
OTHER_NUMBERS = words("""
    +1 +1.5 .5 5. -.5 00 01 007 1_000 0x10 1,5 1.2.3 1e 1e+ e5 NaN nan Infinity -inf inf ١ 1٫5 ½
    --1 1-
    000000000000000000000000000000000000000000000000000000000001 1d 1f 0b1 1e5.0 $5 1%
""")
TIMESTAMPS = words("""
    2026-05-05T10:00:00Z 2026-05-05~10:00:00Z 2026-05-05T10:00:00+02:00 2026-05-05T10:00:00+0200
    2026-05-05T10:00:00+02 2026-05-05T10:00:00-11:30 2026-05-05T10:00:00+00:00
    2026-05-05T10:00:00-00
    2026-05-05T10:00:00.1Z 2026-05-05T10:00:00.123456Z 2026-05-05T10:00:00.1234567Z
    2026-05-05T10:00:00.999999999999999999Z 2026-05-05T23:59:59.9999999+14:00 2026-05-05T10:00Z
    2026-05-05T10:00+0200 2026-05-05~10:00-02 2024-02-29T00:00:00Z 2000-01-01T00:00:00Z
    2000-01-01T00:00:00+00:01 1999-12-31T23:59:59.999999Z 1999-12-31T23:59:00-00:01
    2026-06-02T12:00:00Z 2026-06-02T12:00:00.000001Z 2026-06-02T12:00:00.0000009Z
    2026-06-02T14:00:00+02:00 2026-06-02T14:00:00+01:59 2026-05-05T10:00:00+23:59
    2026-05-05T10:00:00-23:59
    2026-05-05T10:00:00 2026-05-05~10:00:00 2026-05-05 2026-05-05T10Z 2026-05-05T10:00:00z
    2026-05-05t10:00:00Z 2026-05-05T10:00:00~Z 2026-05-05T10:00:00~+02:00 20260505T100000Z
    2026-05-05T100000Z 2026-W19-2T10:00:00Z 2026-125T10:00:00Z 2026-02-29T00:00:00Z
    2026-02-30T00:00:00Z 2026-13-01T00:00:00Z 2026-00-10T00:00:00Z 2026-05-00T00:00:00Z
    2026-05-32T00:00:00Z 2026-05-05T24:00:00Z 2026-05-05T10:60:00Z 2026-05-05T23:59:60Z
    2026-05-05T10:00:00+24:00 2026-05-05T10:00:00+02:60 2026-05-05T10:00:00+2:00
    2026-05-05T10:00:00+02:00:00 2026-05-05T10:00:00,5Z 2026-05-05T10:00:00.Z 2026-5-5T10:00:00Z
    26-05-05T10:00:00Z 02026-05-05T10:00:00Z +2026-05-05T10:00:00Z 0000-01-01T00:00:00Z
    9999-12-31T23:59:59Z 9999-12-31T23:59:59-23:59 2026-05-05T10:00:00UTC ٢٠٢٦-05-05T10:00:00Z
    2026-05-05T10:00:00Europe/Zurich 2026-05-05~~10:00:00Z 2026-05-05T10:00:00ZZ
    2026-05-05T10:00:00.1
    2026-05-05T10:00:00−02:00 2026-05-05T-1:00:00Z epoch infinity now today 1746439200 -infinity
    2026-05-05~(BC)~10:00:00Z 2026-05-05T10:00:00Z~ ~2026-05-05T10:00:00Z 1746439200000
""")
TEXTS = [
    "",
    " ",
    "  x  ",
    "\t",
    "x\n",
    "\nx",
    "a\nb",
    "a\r\nb",
    'say "hi", he said',
    '"',
    '""',
    "'",
    "'; drop table raw.messages; --",
    "a,b",
    ",",
    "\\",
    "\\n",
    "\\u0041",
    "é",
    "e\u0301",
    "🤦🏼‍♂️",
    "\ufeffx",
    "\u2028\u2029",
    "\x7f\x1b[31m",
    "a\x01\x1f\x0c\x0bb",
    "a\x00b",
    "x" * 256,
    "x" * 257,
    "🎉" * 256,
    "🎉" * 257,
    "[1]",
    "[x",
    "{x",
    '{"a": 1}',
    "null",
    "NULL",
    "\\N",
    "None",
    "true",
    "True",
    "TRUE",
    "tRuE",
    "false",
    "FALSE",
    "yes",
    "t",
    "1",
    "sms",
    "SMS",
    "SMS ",
    "EMAIL",
    "OUTBOUND",
    "outbound",
    "CLICKED",
    "DELIVERED",
    "DOMAIN",
    "10DLC",
    "10dlc",
    "SOFT",
    "OTHER",
    "free",
    "Free",
    "scale",
    "A2P_CONVERSATION",
    "USD",
    "EUR",
    "usd",
    "USD\n",
    "USDX",
    "US",
    "ÄÖÜ",
    "NaN",
    ",}",
    ", ]",
    ": nan",
    '": -Infinity',
    "=cmd|' /C calc'!A0",
]
VALUES = [
    *NUMBERS,
    *map(json.dumps, (*NUMBERS, *OTHER_NUMBERS)),
    *(json.dumps(text.replace("~", " ")) for text in TIMESTAMPS),
    *(json.dumps(text, ensure_ascii=ascii) for text in TEXTS for ascii in (True, False)),
    *("true", "false", "null", "[]", "{}", "[1]", '[{"a": [1.10]}]', '{"a": 1}', '""', "1746439"),
    *OTHER_NUMBERS,  # not JSON
    *("[1,]", '{"a": 1 , }', "[nan]", "[[-Infinity]]", "tRue", "'x'", "1 2", '"a" "b"', "/**/1"),
    *(r'"\ud800"', r'"\udc00\ud800"', r'["\ud83c"]', r'"\u00"', r'"\x41"', '"a\tb"', '"\x00"'),
]  # fmt: skip


VALUES = list(dict.fromkeys(VALUES))
# The same in a format without types, where 1.10 and "1.10" are one value.
TEXT_VALUES = list({text_of(value): value for value in VALUES}.values())


def every_case(stream: str, format_: str) -> Iterator[tuple[str, Spelled]]:
    """(field, record with one value changed or missing).

    Every field of the first sound record; of the others those that mean something else there.
    """
    for number, record in enumerate(SOUND[stream]):
        for field in record:
            if number == 0 or field in VARYING:
                yield field, {name: value for name, value in record.items() if name != field}
                for value in VALUES if format_ == "jsonl" else TEXT_VALUES:
                    yield field, {**record, field: value}


def assert_judged_alike(
    zone: Zone, stream: str, records: list[Spelled], format_: str
) -> list[Spelled]:
    """Compares the loader with the reference record by record; returns the valid records."""
    results = load_cases(zone, stream, records, format_)
    sound = []
    for case, record in enumerate(records):
        expected, result = verdict(stream, record, format_), results[case]
        if isinstance(expected, Refusal):
            assert isinstance(result, str), (record, expected, result)
            if expected.field:
                assert expected.field in result, (record, expected, result)
            else:
                assert "JSON" in result, (record, expected, result)
        else:
            assert result == expected, record
            sound.append(record)
    return sound


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("stream", SOUND)
def test_every_value_in_every_field(zone: Zone, new_zone, monkeypatch, stream: str, format_: str):
    cases = [record for _, record in every_case(stream, format_)]
    sound = assert_judged_alike(zone, stream, cases, format_)
    assert 0 < len(sound) < len(cases)
    # The same valid records without the broken ones: no file of them is read record by record.
    monkeypatch.setattr(Loader, "_load_alone", None)
    assert_judged_alike(new_zone(), stream, sound, format_)


def test_every_field_has_a_broken_and_a_sound_value():
    """What the test above proves depends on its cases: of each field there must be both kinds."""
    for stream, records in SOUND.items():
        verdicts: dict[str, set[bool]] = {name: set() for record in records for name in record}
        for field, record in every_case(stream, "jsonl"):
            verdicts[field].add(isinstance(verdict(stream, record, "jsonl"), Refusal))
        assert all(kinds == {True, False} for kinds in verdicts.values())


def random_number(random: Random) -> str:
    """A number, or nearly one."""

    def digits(most: int) -> str:
        return "".join(random.choices("0000123456789", k=random.randrange(most)))

    return "".join(
        (
            random.choice(("", "", "-", "+")),
            digits(24),
            random.choice(("", ".")),
            random.choice((digits(24), "0" * random.randrange(40))),
            random.choice(("", "", "", "e", "E-", "e+")),
            digits(4),
        )
    )


def random_instant(random: Random) -> str:
    """A timestamp, or nearly one."""

    def two(low: int, high: int) -> str:
        return f"{random.randint(low, high):02}"

    return "".join(
        (
            random.choice(("2026", "2024", "2000", "1999", "9999", "0001")),
            f"-{two(1, 12) if random.random() < 0.9 else two(0, 13)}-{two(1, 28)}",
            random.choice(("T", "T", " ", " ", "t", "")),
            f"{two(0, 24)}:{two(0, 60)}",
            random.choice(("", f":{two(0, 60)}", f":{two(0, 59)}.{random.randrange(10**9)}")),
            random.choice(("Z", "Z", "+02", "-0330", "+14:00", f"-{two(0, 25)}:{two(0, 61)}", "")),
        )
    )


def random_text(random: Random) -> str:
    characters = "ab \t\n\r\"',;\\{}[]:0é🎉\x00\x1f\u2028\U0010ffff"
    return random.choice(("", random.choice(TEXTS))) + "".join(
        random.choices(characters, k=random.randrange(12))
    )


def random_value(random: Random, field: str) -> str:
    if field in ("sent_at", "updated_at", "occurred_at"):
        return json.dumps(random_instant(random))
    is_number = field in ("segments", "cost_cents", "communication_id", "country_id", "network_id")
    if not is_number and random.random() < 0.7:
        return json.dumps(random_text(random), ensure_ascii=random.random() < 0.5)
    text = random_number(random)
    return text if JSON_NUMBER.fullmatch(text) and random.random() < 0.7 else json.dumps(text)


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("stream", SOUND)
def test_random_values_in_random_fields(zone: Zone, stream: str, format_: str):
    random = Random(f"{stream} {format_}")
    records = []
    for _ in range(RANDOM_RECORDS):
        record = dict(random.choice(SOUND[stream]))
        for field in random.sample(sorted(record), random.randint(1, 2)):
            record[field] = random_value(random, field)
        records.append(record)
    assert_judged_alike(zone, stream, records, format_)


@pytest.mark.parametrize("format_", FORMATS)
def test_a_reason_names_all_that_is_wrong_and_the_row_and_the_raw_text(zone: Zone, format_: str):
    broken = {
        **SOUND["messages"][0],
        "message_id": "null",
        "direction": '"SIDEWAYS"',
        "sent_at": '"2026-05-05T10:00:00"',
        "segments": '"2.5"',
    }
    zone.write(
        f"messages/a.{format_}",
        file_of([SOUND["messages"][0], broken, SOUND["messages"][1]], format_),
    )
    report = zone.load()
    load = report.streams["messages"]
    assert (load.files, load.records, load.loaded, load.quarantined) == (1, 3, 2, 1)
    (row,) = zone.quarantine()
    assert (row["stream"], row["path"]) == ("messages", f"messages/a.{format_}")
    assert row["row_number"] == (3 if format_ == "csv" else 2)
    assert row["reason"] == (
        'message_id is missing; direction "SIDEWAYS" is not a known direction (OUTBOUND, INBOUND); '
        'sent_at "2026-05-05T10:00:00" is not a timestamp with an offset, as 2026-05-05T10:00:00Z; '
        'segments "2.5" is not a whole number of at least 1 that fits int16'
    )
    for value in broken.values():
        assert text_of(value) in row["raw_text"]
