"""CSV: headers, quoted fields, and rows that do not fit."""

import json
from random import Random

import pytest
from zone import Zone

from orchestration.loading.loader import Loader


def loaded(zone: Zone) -> list[tuple[object, object]]:
    return sorted((row["account_key"], row["name"]) for row in zone.rows("accounts"))


# (content of a file, the keys and names in it)
FILES = (
    ("account_key,name\na,x\nb,y\n", [("a", "x"), ("b", "y")]),
    ("account_key,name\na,x\nb,y", [("a", "x"), ("b", "y")]),
    ("account_key,name\r\na,x\r\nb,y\r\n", [("a", "x"), ("b", "y")]),
    ("account_key,name\na,x\r\nb,y\n", [("a", "x"), ("b", "y")]),
    ("\ufeffaccount_key,name\na,x\n", [("a", "x")]),
    ('\ufeff"account_key","name"\na,x\n', [("a", "x")]),
    ("name,account_key\nx,a\n", [("a", "x")]),
    ("account_key,name\n\na,x\n\r\n  \t\nb,y\n\n", [("a", "x"), ("b", "y")]),
    ("\n \r\naccount_key,name\na,x\n", [("a", "x")]),
    ('account_key,name\na,"x\ny"\nb,"x\r\n\ny"\n', [("a", "x\ny"), ("b", "x\r\n\ny")]),
    ('account_key,name\na,"say ""hi"", he"\n', [("a", 'say "hi", he')]),
    ('account_key,name\na,""\nb,\n', [("a", None), ("b", None)]),
    ("account_key,name\na, x \n b ,y\n", [(" b ", "y"), ("a", " x ")]),
    ('account_key,name\na,5" pipe\n', [("a", '5" pipe')]),
    ("account_key,name\na,NULL\nb,\\N\n", [("a", "NULL"), ("b", "\\N")]),
    ("account_key,name\na,it's\\\nb,x;y|z\n", [("a", "it's\\"), ("b", "x;y|z")]),
    ("account_key,name\na,#x\n#b,y\n", [("#b", "y"), ("a", "#x")]),
    ("account_key,name\na,x\x00y\n", [("a", "x\x00y")]),
    ("account_key\na\n\n  \nb", [("a", None), ("b", None)]),
    ("account_key\n", []),
    ("account_key,name", []),
    ("", []),
    ("\ufeff", []),
    ("\n\n", []),
)


@pytest.mark.parametrize("has_broken", (False, True))
def test_rows(zone: Zone, has_broken: bool):
    broken = "\nq,u,i,t,e,\n" if has_broken else ""
    for number, (content, expected) in enumerate(FILES):
        zone.write(f"accounts/{number}.csv", content + (broken if expected else ""))
    load = zone.load().streams["accounts"]
    with_rows = sum(bool(expected) for _, expected in FILES)
    assert (load.files, load.quarantined) == (len(FILES), has_broken and with_rows)
    rows = zone.query(
        "select path, account_key, name from raw.accounts join raw.files using (file_id)"
    )
    for number, (content, expected) in enumerate(FILES):
        of_file = [row for row in rows if row["path"] == f"accounts/{number}.csv"]
        assert sorted((row["account_key"], row["name"]) for row in of_file) == expected, content


@pytest.mark.parametrize(
    ("row", "reason"),
    (
        ("a", "has 1 fields where the header has 2"),
        ("a,x,", "has 3 fields where the header has 2"),
        ("a,x,,", "has 4 fields where the header has 2"),
        ("a,x,y", "has 3 fields where the header has 2"),
        (",x", "account_key is missing"),
        (",", "account_key is missing"),
        ('a,"x" y', "is not a CSV row (',' expected after '\"')"),
        ('a,"x', "is not a CSV row (unexpected end of data)"),
    ),
)
def test_a_row_that_is_no_record(zone: Zone, row: str, reason: str):
    zone.write("accounts/x.csv", f'account_key,name\nb,"two\nlines"\n\n{row}')
    zone.load()
    assert loaded(zone) == [("b", "two\nlines")]
    (refused,) = zone.quarantine()
    assert (refused["row_number"], refused["raw_text"]) == (5, row)
    assert refused["reason"] == reason


def test_an_unclosed_quote_takes_the_rest_of_the_file_with_it(zone: Zone):
    zone.write("accounts/x.csv", 'account_key,name\na,x\nb,"y\nc,z\n')
    assert zone.load().streams["accounts"].records == 2
    (refused,) = zone.quarantine()
    assert (refused["row_number"], refused["raw_text"]) == (3, 'b,"y\nc,z')


def test_rows_after_a_broken_one_are_read(zone: Zone):
    zone.write("accounts/x.csv", 'account_key,name\na,"x" y\nb,z\rc,z\nd,"z\nz"\n')
    zone.load()
    assert loaded(zone) == [("d", "z\nz")]
    assert [row["row_number"] for row in zone.quarantine()] == [2, 3]


@pytest.mark.parametrize(
    ("header", "reason"),
    (
        ("account_key,name,account_key", "the file names account_key twice in its header"),
        ("account_key,x,x", "the file names x twice in its header"),
        (
            "account_key;name",
            "the file separates the names in its header by ';', where CSV has commas",
        ),
        ('account_key,"x" y', "the file has no readable header (',' expected after '\"')"),
        ('account_key,"x', "the file has no readable header (unexpected end of data)"),
    ),
)
def test_a_header_that_cannot_be_understood(zone: Zone, header: str, reason: str):
    zone.write("accounts/x.csv", f"{header}\n")
    assert zone.load().streams["accounts"].unreadable_files == 1
    assert [row["reason"] for row in zone.quarantine()] == [reason]


def test_a_header_that_names_no_field_of_ours(zone: Zone):
    zone.write("accounts/x.csv", "Account_Key, name\na,x\n")
    zone.load()
    assert [row["reason"] for row in zone.quarantine()] == ["account_key is missing"]


@pytest.mark.parametrize("has_broken", (False, True))
def test_unknown_columns_are_kept(zone: Zone, has_broken: bool):
    header = 'account_key,x,"it\'s ""y""",,,"two\nlines"'
    broken = ",,,,," if has_broken else ""
    zone.write("accounts/x.csv", f"{header}\na,1.10,🎉,,,\nb,,,,,\n{broken}")
    zone.load()
    extras = {
        row["account_key"]: json.loads(str(row["extra"])) if row["extra"] else None
        for row in zone.rows("accounts")
    }
    assert extras.keys() == {"a", "b"}
    assert extras["b"] is None
    assert {name: text for name, text in extras["a"].items() if text} == {
        "x": "1.10",
        'it\'s "y"': "🎉",
    }


@pytest.mark.parametrize(
    "content", (b"account_key\n\xff\n", b"account_\xff\na\n", b"\xff\xfea\x00")
)
def test_a_file_that_is_not_utf_8_is_refused_whole(zone: Zone, content: bytes):
    zone.write("accounts/x.csv", content)
    assert zone.load().streams["accounts"].unreadable_files == 1
    (row,) = zone.quarantine()
    assert str(row["reason"]).startswith("the file is not UTF-8 text (line ")


def test_long_fields(zone: Zone):
    long = "x" * 3_000_000
    zone.write("accounts/x.csv", f'account_key,name\na,"{long}"\nb,{long}\n')
    zone.load()
    assert loaded(zone) == [("a", long), ("b", long)]


def test_files_without_a_broken_record_are_read_as_record_by_record(zone, new_zone, monkeypatch):
    """The two ways of reading agree on every layout of rows, or else the careful way decides."""
    random = Random(6)
    other = new_zone()
    for number in range(50):
        text = random_csv(random)
        for each in (zone, other):
            each.write(f"accounts/{number}.csv", text)
    monkeypatch.setattr("orchestration.loading.loader._GROUP_FILES", 1)
    zone.load()
    monkeypatch.setattr(Loader, "_load_together", lambda self, arrivals, *_: arrivals)
    other.load()
    assert zone.content() == other.content()


def random_csv(random: Random) -> str:
    header = random.choice(
        (["account_key", "name"], ["x", "account_key"], ["name", "account_key", "y"])
    )
    line_end = random.choice(("\n", "\n", "\r\n"))
    rows = [random.choice(("", "", "", "\ufeff", "\n", " \r\n")) + ",".join(header)]
    for number in range(random.randrange(5)):
        cells = [random_cell(random) for _ in header]
        cells[header.index("account_key")] = random.choice((f"k{number}", f'"k{number}"', " k"))
        if random.random() < 0.08:
            cells.insert(random.randrange(3), random.choice(("", "z", "\x00")))
        if random.random() < 0.05:
            cells.pop()
        rows.append(",".join(cells))
    return "".join(row + random.choice((line_end,) * 9 + ("\n", "\n\n", "\r\r\n")) for row in rows)


def random_cell(random: Random) -> str:
    text = "".join(random.choices("ab é'\\\x00,\"\n\r", k=random.randrange(4)))
    if random.random() < 0.5:
        return '"' + text.replace('"', '""') + '"'
    return "".join(character for character in text if character not in ',"\n\r')
