"""Files as files: broken ones, odd names, and what makes a file a new one."""

import gzip
import os
import socket

import pyarrow as pa
import pytest
from raw_records import ACCOUNT, file_of, parquet_of
from zone import Zone

from msgmetrics.errors import UserError
from orchestration.loading import landing, loader, readers


def zipped(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


LINES = b"".join(b'{"account_key": "k%d"}\n' % number for number in range(1000))
GZIP = zipped(LINES)
ZSTD = pa.compress(LINES, codec="zstd", asbytes=True)
PARQUET = parquet_of({"account_key": pa.array(["k"])})


@pytest.mark.parametrize(
    ("ending", "content", "reason"),
    (
        ("jsonl.gz", GZIP[:-1], "is not a whole gzip file"),
        ("jsonl.gz", GZIP[:-9], "is not a whole gzip file"),
        ("jsonl.gz", GZIP[: len(GZIP) // 2], "is not a whole gzip file"),
        ("jsonl.gz", GZIP[:3], "is not a whole gzip file"),
        ("jsonl.gz", GZIP[:-6] + b"xxxxxx", "is not a whole gzip file"),
        ("jsonl.gz", LINES, "is not a whole gzip file"),
        ("jsonl.gz", b"", "is empty, which no gzip file is"),
        ("jsonl.gz", zipped(b"\xff\n"), "is not UTF-8 text"),
        ("csv.gz", zipped(b"account_key\na\n")[:-1], "is not a whole gzip file"),
        ("csv.gz", b"account_key\na\n", "is not a whole gzip file"),
        ("csv.gz", b"", "is empty, which no gzip file is"),
        ("jsonl.zst", ZSTD[:-1], "is not a whole zstd file"),
        ("jsonl.zst", ZSTD[: len(ZSTD) // 2], "is not a whole zstd file"),
        ("jsonl.zst", LINES, "is not a whole zstd file"),
        ("jsonl.zst", GZIP, "is not a whole zstd file"),
        ("jsonl.zst", b"", "is empty, which no zstd file is"),
        ("parquet", b"", "is not a readable Parquet file"),
        ("parquet", PARQUET[:-1], "is not a readable Parquet file"),
        ("parquet", PARQUET[: len(PARQUET) // 2], "is not a readable Parquet file"),
        ("parquet", LINES, "is not a readable Parquet file"),
        ("parquet", PARQUET[:4] + b"\0" * 40 + PARQUET[44:], "is not a readable Parquet file"),
    ),
    ids=lambda value: "" if isinstance(value, bytes) else None,
)
def test_a_file_that_cannot_be_read_is_refused_whole(zone: Zone, ending, content, reason):
    zone.write(f"accounts/bad.{ending}", content)
    zone.write("accounts/good.jsonl", '{"account_key": "good"}')
    load = zone.load().streams["accounts"]
    assert (load.files, load.unreadable_files, load.records) == (1, 1, 1)
    (row,) = zone.quarantine()
    assert (row["path"], row["row_number"], row["raw_text"]) == (
        f"accounts/bad.{ending}",
        None,
        None,
    )
    assert str(row["reason"]).startswith(f"the file {reason}")
    assert str(zone.settings.home) not in str(row["reason"])

    assert zone.load().files == 0
    zone.write(f"accounts/bad.{ending}", file_of([], "jsonl"))
    good = file_of([ACCOUNT], ending.partition(".")[0])
    if ending.endswith(".gz"):
        good = zipped(good)
    elif ending.endswith(".zst"):
        good = pa.compress(good, codec="zstd", asbytes=True)
    zone.write(f"accounts/bad.{ending}", good)
    load = zone.load().streams["accounts"]
    assert (load.files, load.unreadable_files, load.loaded) == (1, 0, 1)
    assert len(zone.rows("accounts")) == 2


def test_files_without_a_record(zone: Zone):
    for name, content in {
        "a.jsonl": b"",
        "a.csv": b"",
        "a.jsonl.gz": zipped(b""),
        "a.jsonl.zst": pa.compress(b"", codec="zstd", asbytes=True),
        "a.csv.gz": zipped(b"account_key\n"),
        "a.parquet": parquet_of({"account_key": pa.array([], pa.string())}),
        "b.jsonl": b"\n\n",
        "b.csv": b"account_key,name\n",
    }.items():
        zone.write(f"accounts/{name}", content)
    load = zone.load().streams["accounts"]
    assert (load.files, load.unreadable_files, load.records) == (8, 0, 0)


def test_compressed_files_in_several_members(zone: Zone):
    zone.write("accounts/a.jsonl.gz", zipped(LINES[:500]) + zipped(LINES[500:]))
    frames = [pa.compress(part, codec="zstd", asbytes=True) for part in (LINES[:500], LINES[500:])]
    zone.write("accounts/a.jsonl.zst", b"".join(frames))
    load = zone.load().streams["accounts"]
    assert (load.unreadable_files, load.loaded, load.quarantined) == (0, 2000, 0)


ODD_NAMES = (
    "it's.jsonl",
    'say "hi".jsonl',
    "a b.jsonl",
    "*.jsonl",
    "[a-z]?.jsonl",
    "{a,b}.jsonl",
    "🎉.jsonl",
    "a\nb.jsonl",
    "a\tb\x07.jsonl",
    "%2e%2e.jsonl",
    "x;drop table raw.files;--.jsonl",
    "\\.jsonl",
    "7.jsonl",
    "a.csv.jsonl",
    "-rf.jsonl",
    "~.jsonl",
    "$HOME.jsonl",
    "x" * 240 + ".jsonl",
)


@pytest.mark.parametrize("is_broken", (False, True))
def test_odd_names(zone: Zone, is_broken: bool):
    content = '{"account_key": "a"}\n' + "broken" * is_broken
    folders = ("year=2026/é '*[]", "x.jsonl/a\nb")
    names = [f"accounts/{folder}/{name}" for folder in folders for name in ODD_NAMES]
    for name in names:
        zone.write(name, content)
        zone.write(name + ".gz", zipped(content.encode()))
    names += [name + ".gz" for name in names]
    assert zone.load().streams["accounts"].loaded == len(names)
    assert {file["path"] for file in zone.files()} == set(names)
    assert {row["path"] for row in zone.quarantine()} == (set(names) if is_broken else set())
    assert zone.load().known_files == len(names)


def test_a_name_that_is_not_utf_8(zone: Zone):
    for ending, content in {"jsonl": LINES, "jsonl.gz": GZIP, "parquet": PARQUET}.items():
        path = zone.write("accounts/x", content)
        os.rename(path, os.fsencode(path.parent) + b"/\xff." + ending.encode())
    zone.load()
    assert [file["path"] for file in zone.files()] == [
        "accounts/\\xff.jsonl",
        "accounts/\\xff.jsonl.gz",
        "accounts/\\xff.parquet",
    ]
    assert len(zone.rows("accounts")) == 2001
    assert zone.load().known_files == 3


@pytest.mark.parametrize("home", ("it's [a-z]*", "year=2026", "🎉 {a,b}", 'say "hi"'))
def test_odd_places_for_the_warehouse(tmp_path, home: str):
    zone = Zone(tmp_path / home)
    zone.write("accounts/a.jsonl", '{"account_key": "a"}')
    zone.write("accounts/b.jsonl", '{"account_key": "b"}\nbroken')
    zone.write("accounts/a.csv", "account_key,name\nc,x\n")
    zone.write("accounts/a.csv.gz", zipped(b"account_key,name\nd,\n"))
    zone.write("accounts/a.parquet", PARQUET)
    load = zone.load().streams["accounts"]
    assert (load.loaded, load.quarantined, load.unreadable_files) == (5, 1, 0)
    assert all(row["extra"] is None for row in zone.rows("accounts"))
    zone.close()


def test_what_is_left_alone_is_counted(zone: Zone, tmp_path):
    for name in (
        *(
            ".hidden.jsonl",
            "_temporary.jsonl",
            "_SUCCESS",
            "a.json",
            "a.jsonl.bz2",
            "a.txt",
            "jsonl",
        ),
        *("a.JSONL", "a.parquet.gz", "a.csv.zst", "a.jsonl.part", "a.jsonl~", "a"),
    ):
        zone.write(f"accounts/{name}", '{"account_key": "a"}')
    zone.write("accounts/_delta_log/a.jsonl", '{"account_key": "a"}')
    zone.write("accounts/.git/deep/er/a.jsonl", '{"account_key": "a"}')
    (zone.landing / "accounts" / "nowhere.jsonl").symlink_to(tmp_path / "nowhere")
    (zone.landing / "accounts" / "itself.jsonl").symlink_to("itself.jsonl")
    os.mkfifo(zone.landing / "accounts" / "pipe.jsonl")
    os.mkfifo(zone.landing / "accounts" / "pipe.csv.gz")
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.getcwd()
        os.chdir(zone.landing / "accounts")
        listener.bind("socket.parquet")
        os.chdir(here)
        report = zone.load()
    assert (report.files, report.left_alone) == (0, 20)
    assert "holds no file to load" in report.remarks[0]
    # neither what is hidden, nor what is still on its way
    assert "files that are not read (8, as accounts/a): read are names that" in report.remarks[1]
    assert "end in .jsonl, .jsonl.gz" in report.remarks[1]
    assert len(report.remarks) == 2


def test_links_are_followed_and_loops_of_links_end(zone: Zone, tmp_path):
    elsewhere = Zone(tmp_path / "elsewhere")
    elsewhere.write("accounts/deep/a.jsonl", '{"account_key": "a"}')
    target = elsewhere.write("b.jsonl", '{"account_key": "b"}')
    folder = zone.landing / "accounts"
    folder.mkdir(parents=True)
    (folder / "linked").symlink_to(elsewhere.landing / "accounts")
    (folder / "b.jsonl").symlink_to(target)
    (folder / "loop").symlink_to(folder)
    (elsewhere.landing / "accounts" / "back").symlink_to(folder)
    zone.load()
    assert [f["path"] for f in zone.files()] == ["accounts/b.jsonl", "accounts/linked/deep/a.jsonl"]


def test_a_file_or_folder_that_cannot_be_opened_is_left_for_the_next_run(zone, monkeypatch):
    zone.write("accounts/a.jsonl", '{"account_key": "a"}')
    zone.write("accounts/b.jsonl", '{"account_key": "b"}')
    zone.write("events", b"a file where a folder belongs")

    def refuse(path):
        if path.name == "a.jsonl":
            raise PermissionError(13, "Permission denied", str(path))
        return landing.content_hash(path)

    monkeypatch.setattr(loader, "content_hash", refuse)
    report = zone.load()
    assert report.streams["accounts"].loaded == 1
    assert report.remarks == [
        f"{zone.landing / 'events'} could not be listed (Not a directory); "
        "it is tried again at the next run.",
        "accounts/a.jsonl could not be opened (Permission denied); "
        "it is tried again at the next run.",
    ]
    assert zone.quarantine() == []
    monkeypatch.undo()
    assert zone.load().streams["accounts"].loaded == 1


def replaced(path, content: bytes, *, like: os.stat_result | None = None) -> None:
    """Writes the file in place; `like` gives it the times of before."""
    with path.open("r+b") as file:
        file.write(content)
        file.truncate()
    if like:
        os.utime(path, ns=(like.st_atime_ns, like.st_mtime_ns))


FILES = {
    "a.jsonl": (b'{"account_key": "a"}', b'{"account_key": "b"}'),
    "bad.jsonl": (b'{"account_key": "a"}\nx', b'{"account_key": "b"}\ny'),
    "a.jsonl.gz": (zipped(b'{"account_key": "a"}'), zipped(b'{"account_key": "b"}')),
    "not.jsonl.gz": (b"not gzip", b"NOT GZIP"),
    "a.csv": (b"account_key,name\na,n", b"account_key,name\nb,n"),
    "bad.csv": (b"account_key,name\na,n\nx", b"account_key,name\nb,n\ny"),
    "a.parquet": (PARQUET, parquet_of({"account_key": pa.array(["K"])})),
    "bad.parquet": (
        parquet_of({"account_key": pa.array(["k", ""])}),
        parquet_of({"account_key": pa.array(["K", ""])}),
    ),
    "not.parquet": (b"not Parquet", b"NOT PARQUET"),
}


def appended(path) -> None:
    with path.open("ab") as file:
        file.write(b'{"account_key": "more"}\n')


def truncated(path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def renamed_over(path) -> None:
    fresh = path.with_name(".fresh")
    fresh.write_bytes(path.read_bytes())
    fresh.replace(path)


def deleted(path) -> None:
    path.unlink()


def made_a_folder(path) -> None:
    path.unlink()
    path.mkdir()


CHANGES = (appended, truncated, renamed_over, deleted, made_a_folder)


@pytest.mark.parametrize("moment", ("when hashed", "when copied", "when judged", "when looked at"))
@pytest.mark.parametrize("name", FILES)
def test_files_that_change_while_they_are_read(zone, new_zone, monkeypatch, name: str, moment: str):
    """Each in one way, in one group with one that stays as it is, which alone is loaded."""
    before, after = FILES[name]
    ending = name.partition(".")[2]
    paths = {
        change: zone.write(f"accounts/{change.__name__}.{ending}", before) for change in CHANGES
    }
    paths[lambda path: replaced(path, after)] = zone.write(f"accounts/replaced.{ending}", before)
    zone.write(f"accounts/other.{ending}", FILES[f"a.{ending}"][0])
    names = {f"accounts/{path.name}" for path in paths.values()}
    for path in paths.values():
        os.utime(path, ns=(0, 1))

    def change_at(function: str, may_change=lambda *_: True, *, before_it: bool = False) -> None:
        """Lets the first call of a function of the loader's that may do so change the files."""
        original = getattr(loader, function)

        def change_all() -> None:
            while paths:
                change, path = paths.popitem()
                change(path)

        def changing(*arguments):
            if before_it and may_change(*arguments):
                change_all()
            result = original(*arguments)
            if may_change(*arguments):
                change_all()
            return result

        monkeypatch.setattr(loader, function, changing)

    is_readable = not name.startswith("not")
    last = f"truncated.{ending}"
    if moment == "when looked at":
        change_at("state_of", before_it=True)
    elif moment == "when judged" and is_readable:
        change_at("judged_sql")
    elif moment == "when copied" and is_readable:
        change_at("readable_copy", lambda file, *_: file.path.name == last)
    else:
        change_at("content_hash", lambda path: path.name == last)
    report = zone.load()
    assert not paths and report.files == 1
    assert {file["path"] for file in zone.files()} == {f"accounts/other.{ending}"}
    assert zone.quarantine() == []
    assert {remark.partition(" ")[0] for remark in report.remarks} == names
    assert len(report.remarks) == len(names)

    monkeypatch.undo()
    zone.load()
    directly = new_zone()
    directly.landing.parent.mkdir(exist_ok=True)
    zone.landing.rename(directly.landing)
    directly.load()
    assert zone.content() == directly.content()
    assert len(zone.files()) == 5


def test_what_makes_a_file_new(zone: Zone):
    content, other = b'{"account_key": "a"}', b'{"account_key": "b"}'
    path = zone.write("accounts/a.jsonl", content)
    assert zone.load().files == 1
    assert (zone.load().files, zone.load().known_files) == (0, 1)

    os.utime(path, ns=(0, 12345))
    assert (zone.load().files, zone.load().known_files) == (0, 1)

    replaced(path, other)
    assert zone.load().files == 1
    assert sorted(str(row["account_key"]) for row in zone.rows("accounts")) == ["a", "b"]

    replaced(path, content)
    assert (zone.load().files, zone.load().known_files) == (0, 1)

    zone.write("accounts/same.jsonl", content)
    assert zone.load().files == 1
    path.unlink()
    report = zone.load()
    assert (report.files, report.known_files) == (0, 1)
    assert len(zone.rows("accounts")) == 3

    zone.write("accounts/a.jsonl", content)
    assert zone.load().files == 0

    zone.write("accounts/a.jsonl", content + b"\n")
    assert zone.load().files == 1


@pytest.mark.parametrize("name", FILES)
def test_only_a_rehash_sees_a_change_that_the_file_system_does_not_tell(zone: Zone, name: str):
    before, after = FILES[name]
    path = zone.write(f"accounts/{name}", before)
    zone.load()
    loaded = zone.content()
    replaced(path, after[: len(before)].ljust(len(before)), like=path.stat())
    assert zone.load().files == 0
    assert zone.content() == loaded
    assert zone.load(rehash=True).files == 1
    assert zone.load(rehash=True).files == 0
    assert len(zone.files()) == 2


@pytest.mark.parametrize("kind", ("nothing", "a file", "a link to nowhere"))
def test_no_landing_zone(zone: Zone, tmp_path, kind: str):
    zone.landing.parent.mkdir()
    if kind == "a file":
        zone.landing.write_text("x")
    elif kind == "a link to nowhere":
        zone.landing.symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError) as raised:
        zone.load()
    message = str(raised.value)
    wrong = "is not a folder" if kind == "a file" else "does not exist"
    assert message.startswith(f"The landing zone {zone.landing} {wrong}: create the folder")
    assert "\n" not in message and message.count(". ") == 0


def test_an_empty_landing_zone_is_remarked(zone: Zone):
    zone.landing.mkdir(parents=True)
    report = zone.load()
    assert report.files == 0
    assert report.remarks == [
        f"The landing zone {zone.landing} holds no file to load; drop files into messages/, "
        "events/, accounts/ or webhooks/, or let `msgmetrics demo` write some."
    ]


def test_streams_may_be_missing_and_other_folders_are_not_ours(zone: Zone):
    zone.write("accounts/a.jsonl", '{"account_key": "a"}')
    zone.write("others/a.jsonl", '{"account_key": "b"}')
    zone.write("a.jsonl", '{"account_key": "c"}')
    report = zone.load()
    assert (report.files, report.left_alone) == (1, 0)
    assert [remark.split(" (")[0] for remark in report.remarks] == [
        "The landing zone has files beside its folders"
    ]


def test_the_landing_zone_is_only_read(zone: Zone):
    for name, contents in FILES.items():
        zone.write(f"accounts/{name}", contents[0])

    def picture() -> list[tuple[object, ...]]:
        return [
            (
                path,
                path.stat().st_mtime_ns,
                path.stat().st_ino,
                path.is_file() and path.read_bytes(),
            )
            for path in sorted(zone.landing.rglob("*"))
        ]

    before = picture()
    zone.load()
    zone.load(rehash=True)
    assert picture() == before


def test_a_thousand_small_files_of_which_one_is_broken(zone: Zone):
    for number in range(1000):
        zone.write(f"accounts/{number}.jsonl", f'{{"account_key": "k{number}"}}\n')
    zone.write("accounts/500.jsonl", '{"account_key": "k500"}\n{"account_key": ""}\n')
    load = zone.load().streams["accounts"]
    assert (load.files, load.loaded, load.quarantined) == (1000, 1000, 1)
    assert zone.load().known_files == 1000


def test_a_full_disk_is_no_fault_of_the_file(zone: Zone, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    zone.write("accounts/a.jsonl.gz", GZIP)
    monkeypatch.setattr(loader, "readable_copy", full)
    with pytest.raises(UserError, match="The disk of .* is full"):
        zone.load()
    monkeypatch.undo()
    assert zone.files() == []
    assert zone.load().streams["accounts"].loaded == 1000


def test_a_failing_statement_is_no_fault_of_the_file(zone: Zone, monkeypatch):
    zone.write("accounts/a.parquet", PARQUET)
    monkeypatch.setattr(readers, "parquet", lambda *_, **__: "select no_such_column")
    with pytest.raises(Exception, match="no_such_column"):
        zone.load()
    monkeypatch.undo()
    assert zone.quarantine() == []
    assert zone.load().streams["accounts"].loaded == 1
