"""JSON Lines: what a line is, what JSON is, and lines that mean harm."""

import json
from random import Random

import pytest
from raw_records import ACCOUNT, line_of, parse_account
from reference.records import Refusal, load_json_line
from zone import NOW, Zone

from orchestration.loading.loader import Loader

SOUND = line_of(ACCOUNT)


def account(key: str) -> str:
    return json.dumps({"account_key": key})


# Files of two records.
FILES = (
    "A\nB\n",
    "A\nB",
    "A\r\nB\r\n",
    "A\r\nB\n",
    "\ufeffA\nB\n",
    "\ufeff\nA\nB\n",
    "\n\n\nA\n\n\nB\n\n",
    "A\n   \t  \n\r\n \r \nB\n \t ",
    "  A  \n\tB\t",
    "\r\r\nA\r\r\nB",
    "A\n" + "\n" * 1000 + "B",
)


@pytest.mark.parametrize("has_broken", (False, True))
def test_lines(zone: Zone, has_broken: bool):
    broken = "\nbroken" if has_broken else ""
    for number, content in enumerate(FILES):
        text = content.replace("A", account(f"{number}a")).replace("B", account(f"{number}b"))
        zone.write(f"accounts/{number}.jsonl", text + broken)
    zone.load()
    assert {str(row["account_key"]) for row in zone.rows("accounts")} == {
        f"{number}{letter}" for number in range(len(FILES)) for letter in "ab"
    }
    assert all(file["loaded"] == 2 for file in zone.files())
    assert {
        (row["path"], row["row_number"], row["raw_text"], row["reason"])
        for row in zone.quarantine()
    } == {
        (f"accounts/{number}.jsonl", content.count("\n") + 2, "broken", "is not valid JSON")
        for number, content in enumerate(FILES if has_broken else ())
    }


def test_a_carriage_return_by_itself_ends_no_line(zone: Zone):
    zone.write("accounts/x.jsonl", f'{account("a")}\r{account("b")}\n{{"account_key":\r"c"}}\n')
    assert zone.load().streams["accounts"].loaded == 1
    (row,) = zone.quarantine()
    assert (row["row_number"], row["reason"]) == (1, "is not valid JSON")
    assert row["raw_text"] == f"{account('a')}\r{account('b')}"


NO_RECORDS = (
    ("[]", "is not a JSON object"),
    ("5", "is not a JSON object"),
    ("null", "is not a JSON object"),
    ('"text"', "is not a JSON object"),
    ('[{"account_key": "a"}]', "is not a JSON object"),
    ("{}", "account_key is missing"),
    ('{"x": {"account_key": "a"}}', "account_key is missing"),
    ('{"Account_Key": "a"}', "account_key is missing"),
    ('{"account_key": ["a"]}', "account_key is a list or an object, not one value"),
    ('{"account_key": "a",}', "is not valid JSON"),
    ('{"account_key": "a", "x": NaN}', "is not valid JSON"),
    ('{"account_key": "a", "x": [1, -Infinity]}', "is not valid JSON"),
    ('{"account_key": "a", "x": {"y": [1 , ] }}', "is not valid JSON"),
    ('{"account_key": "a"} {}', "is not valid JSON"),
    ('{"account_key": "a"}\x00', "is not valid JSON"),
    ('{"account_key": "a\x00b"}', "is not valid JSON"),
    ('{"account_key": "a\x1fb"}', "is not valid JSON"),
    ("\x1f" + '{"account_key": "a"}', "is not valid JSON"),
    ("\ufeff" + '{"account_key": "a"}', "is not valid JSON"),
    (r'{"account_key": "\ud800"}', "is not valid JSON"),
    (r'{"account_key": "a", "x": "\udc00\ud800"}', "is not valid JSON"),
    ("{'account_key': 'a'}", "is not valid JSON"),
    ("{", "is not valid JSON"),
    ("\f", "is not valid JSON"),
    ('{"account_key": "a"', "is not valid JSON"),
)


def test_lines_that_are_no_records(zone: Zone):
    lines = [line for line, _ in NO_RECORDS]
    zone.write("accounts/x.jsonl", "\n".join((account("sound"), *lines, account("sound"))))
    load = zone.load().streams["accounts"]
    assert (load.loaded, load.quarantined) == (2, len(lines))
    assert [(row["row_number"], row["raw_text"], row["reason"]) for row in zone.quarantine()] == [
        (number, *expected) for number, expected in enumerate(NO_RECORDS, start=2)
    ]


@pytest.mark.parametrize(
    ("line", "extra"),
    (
        ('{"account_key": "a"}', None),
        ('{"account_key": "a", "x": null}', {"x": None}),
        ('{"account_key": "a", "": 1, "a/b": [1, {"~": true}], "é\\n\\"": "\\u0000"}', ...),
        ('{"account_key": "a", "Account_Key": "b", "name ": ""}', ...),
        ('{"x": 12345678901234567890123, "account_key": "a", "y": [1.5, -2e-7]}', ...),
        ('{"account_key": "a", "account_key": "b", "account_key": null}', None),
        ('{"account_key": "a", "\\u0061ccount_key": "b", "x": 1, "y": 2}', {"x": 1, "y": 2}),
        ('{"\\u0061ccount_key": "a"}', None),
        ('{"account_key": "a", "x": "\\ud83c\\udf89, ]NaN:nan,}"}', {"x": "🎉, ]NaN:nan,}"}),
    ),
)
def test_unknown_members_are_kept_and_of_repeated_ones_the_first_counts(
    zone: Zone, line: str, extra: object
):
    if extra is ...:
        extra = {name: value for name, value in json.loads(line).items() if name != "account_key"}
    zone.write("accounts/x.jsonl", line)
    zone.load()
    (row,) = zone.rows("accounts")
    assert row["account_key"] == "a"
    assert (json.loads(str(row["extra"])) if row["extra"] else None) == extra


def test_a_number_in_a_text_field_is_its_text_even_if_the_name_is_spelled_oddly(zone: Zone):
    lines = (
        '{"\\u0061ccount_key": 1.10, "x": 1.10}',
        '{"account_key": 2.10, "x": 1.10}',
        '{"account_key" : -0, "x": 1.10}',
        '{"account_ke\\u0079":3e2, "x": 1.10}',
    )
    zone.write("accounts/x.jsonl", "\n".join(lines))
    zone.load()
    rows = zone.rows("accounts")
    assert sorted(str(row["account_key"]) for row in rows) == ["-0", "1.10", "2.10", "3e2"]
    assert all(json.loads(str(row["extra"])) == {"x": 1.1} for row in rows)


@pytest.mark.parametrize("levels", (1_000, 600_000))
@pytest.mark.parametrize(("opening", "closing"), (("[", "]"), ('{"x":', "}")))
@pytest.mark.parametrize("number", ("1", "1.10, NaN"))
def test_nesting_of_any_depth(zone: Zone, levels: int, opening: str, closing: str, number: str):
    nested = opening * levels + ("0" if opening != "[" else "") + closing * levels
    line = f'{{"account_key": {number}, "x": {nested}, "y": 1}}'
    zone.write("accounts/x.jsonl", f"{account('sound')}\n{line}")
    load = zone.load().streams["accounts"]
    if "NaN" in number:
        assert (load.loaded, load.quarantined) == (1, 1)
    else:
        assert (load.loaded, load.quarantined) == (2, 0)
        (row,) = zone.query("select extra from raw.accounts where account_key = '1'")
        assert str(row["extra"]).replace(" ", "") == f'{{"x":{nested},"y":1}}'


@pytest.mark.parametrize("is_sound", (True, False))
def test_a_line_of_ten_megabytes(zone: Zone, is_sound: bool):
    long = "x" * 5_000_000 + '\\"' * 2_500_000
    line = f'{{"account_key": "long", "name": "{long}"' + ("}" if is_sound else ",}")
    zone.write("accounts/x.jsonl", "\n".join((account("a"), line, account("b"))))
    load = zone.load().streams["accounts"]
    assert (load.loaded, load.quarantined) == (3 if is_sound else 2, 0 if is_sound else 1)
    if is_sound:
        (row,) = zone.query("select name from raw.accounts where account_key = 'long'")
        assert row["name"] == json.loads(f'"{long}"')
    else:
        (row,) = zone.quarantine()
        assert (row["row_number"], row["raw_text"]) == (2, line)


@pytest.mark.parametrize(
    "content", (b'{"account_key": "\xff"}', b"\xff\xfe{\x00}\x00", b"\xed\xa0\x80", b"\xc0\x80")
)
def test_a_file_that_is_not_utf_8_is_refused_whole(zone: Zone, content: bytes):
    zone.write("accounts/x.jsonl", account("a").encode() + b"\n" + content + b"\n")
    load = zone.load().streams["accounts"]
    assert (load.files, load.unreadable_files, load.records) == (0, 1, 0)
    assert zone.rows("accounts") == []
    (row,) = zone.quarantine()
    assert (row["row_number"], row["raw_text"]) == (None, None)
    assert row["reason"] == "the file is not UTF-8 text (line 2)"


def test_lines_with_random_mistakes_are_judged_as_by_the_reference(zone: Zone):
    random = Random(4)
    sound = (
        '{"account_key": "a\\u00e9", "name": -1.50e3, "plan": null, "x": [1, {"y": [true, 0.5]}]}'
    )
    lines = []
    for _ in range(3000):
        line = sound
        for _ in range(random.randint(1, 2)):
            at = random.randrange(len(line) + 1)
            end = at + random.choice((0, 0, 1, 1, 5))
            line = line[:at] + random.choice(MISTAKES) + line[end:]
        lines.append(line)
    zone.write("accounts/x.jsonl", "\n".join(lines))
    zone.load()
    refused = {row["row_number"] for row in zone.quarantine()}
    sound_keys = []
    for number, line in enumerate(lines, start=1):
        raw = load_json_line(line)
        record = raw if isinstance(raw, Refusal) else parse_account(raw, now=NOW)
        assert (number in refused) == isinstance(record, Refusal), line
        if not isinstance(record, Refusal):
            sound_keys.append((record.account_key, record.name))
    rows = zone.query("select account_key, coalesce(name, account_key) as name from raw.accounts")
    assert sorted(tuple(row.values()) for row in rows) == sorted(sound_keys)
    assert len(refused) > 100 < len(sound_keys)


MISTAKES = [
    *(
        "",
        "",
        " ",
        ",",
        ":",
        '"',
        "\\",
        "{",
        "}",
        "[",
        "]",
        "0",
        "1",
        "-",
        "+",
        ".",
        "e",
        "E5",
        "00",
    ),
    *("NaN", "nan", "Infinity", "-inf", "null", "true", "\t", "\r", "\f", "\x00", "\x1f", "\x7f"),
    *(
        "\ufeff",
        "é",
        "🎉",
        "\\ud83c",
        "\\u0041",
        "//",
        "/*",
        "'",
        '"x":',
        ",,",
        ", ]",
        ",}",
        "\u2028",
    ),
]


def test_files_without_a_broken_record_are_read_as_record_by_record(zone, new_zone, monkeypatch):
    """The two ways of reading agree on every layout of lines."""
    random = Random(5)
    other = new_zone()
    for number in range(50):
        text = random.choice(("", "\ufeff")) + "".join(
            account(f"k{random.randrange(3)}") + random.choice(LINE_ENDS)
            for _ in range(random.randrange(4))
        )
        for each in (zone, other):
            each.write(f"accounts/{number}.jsonl", text)
    zone.load()
    monkeypatch.setattr(Loader, "_load_together", lambda self, arrivals, *_: arrivals)
    other.load()
    assert zone.content() == other.content()


LINE_ENDS = ("\n", "\n", "\n", "\r\n", "\n\n", "\r\r\n", "\n \t\n", "\n\r\n", "\r", "", "\x1f\n")
