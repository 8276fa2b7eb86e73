"""The landing zone as files: what is there, what is new, and whole copies that can be read.

Nothing here looks at a record, and nothing here writes to the landing zone.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

import pyarrow as pa

from msgmetrics.errors import UserError
from orchestration.loading import records

# File name endings that are read, with their format and compression.
ENDINGS = {
    ".jsonl": ("jsonl", None),
    ".jsonl.gz": ("jsonl", "gzip"),
    ".jsonl.zst": ("jsonl", "zstd"),
    ".parquet": ("parquet", None),
    ".csv": ("csv", None),
    ".csv.gz": ("csv", "gzip"),
}
# Files under way, and marks beside files.
_NO_DATA = (".tmp", ".part", ".partial", ".filepart", ".crdownload", ".crc", ".md5", ".done", "~")
_CHUNK = 1 << 20


class UnreadableFileError(Exception):
    """A file that cannot be read at all; the message is the reason, in words."""


class ChangedWhileReadError(Exception):
    """A file that somebody wrote to while it was read; it is left for the next run."""


@dataclass(frozen=True)
class FileState:
    """What the file system says of a file; when none of it differs, the content is not hashed."""

    size: int
    modified_ns: int
    inode: int


@dataclass(frozen=True)
class LandingFile:
    """One file that the product reads. `name` is its path below the landing zone."""

    stream: str
    name: str
    path: Path
    format: str
    compression: str | None
    state: FileState


@dataclass(frozen=True)
class Listing:
    """What a landing zone holds: files to read, and how many were left alone.

    unlisted: what is wrong with each folder whose files could not be listed, in words.
    misspelled: folders that are not read, by the name that theirs is nearly.
    unread: names of files that may be meant, but have another ending than those that are read.
    beside: names of files that would be read if they lay in one of the folders.
    """

    files: tuple[LandingFile, ...]
    left_alone: int
    unlisted: tuple[str, ...] = ()
    misspelled: Mapping[str, str] = field(default_factory=dict)
    unread: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()


def state_of(path: Path) -> FileState:
    status = path.stat()
    return FileState(status.st_size, status.st_mtime_ns, status.st_ino)


def list_landing(landing: Path) -> Listing:
    """All files of the landing zone, by stream and name.

    Folders are searched at any depth, also one that is called x.jsonl. Names that begin with
    `.` or `_` and other endings are left alone and counted. Raises UserError where there is no
    landing zone.
    """
    if not landing.is_dir():
        kind = "is not a folder" if landing.exists() else "does not exist"
        raise UserError(
            f"The landing zone {landing} {kind}: create the folder, or set MSGMETRICS_LANDING to "
            "the folder into which your systems drop messages/, events/, accounts/ and webhooks/."
        )
    files: list[LandingFile] = []
    left_alone = 0
    unlisted: list[str] = []
    unread: list[str] = []
    for stream in records.folders():
        for folder, below, names in _walk(landing / stream, unlisted):
            left_alone += sum(_is_hidden(name) for name in below)
            below[:] = sorted(name for name in below if not _is_hidden(name))
            for name in sorted(names):
                found = _landing_file(landing, stream, Path(folder) / name)
                if found is None:
                    left_alone += 1
                    if _has_another_ending(name, stream):
                        unread.append(str((Path(folder) / name).relative_to(landing)))
                else:
                    files.append(found)
    misspelled, beside = _beside_the_folders(landing)
    return Listing(
        tuple(files), left_alone, tuple(unlisted), misspelled, tuple(unread), tuple(beside)
    )


def _beside_the_folders(landing: Path) -> tuple[dict[str, str], list[str]]:
    """(folders whose names are nearly those of the ones that are read, as webhook; files that
    would be read in one of these)."""
    known = records.folders()
    try:
        beside = sorted(os.scandir(landing), key=lambda entry: entry.name)
        folders = [entry.name for entry in beside if entry.is_dir() and entry.name not in known]
        files = [entry.name for entry in beside if entry.is_file()]
    except OSError:  # whose names cannot be listed
        return {}, []
    close = {name: get_close_matches(name.lower(), known, n=1, cutoff=0.8) for name in folders}
    misspelled = {name: meant[0] for name, meant in close.items() if meant}
    return misspelled, [f for f in files if f.endswith(tuple(ENDINGS)) and not _is_hidden(f)]


def _walk(top: Path, unlisted: list[str]) -> Iterator[tuple[str, list[str], list[str]]]:
    """os.walk through linked folders too, but into no folder twice, so that loops of links end."""

    def note(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            unlisted.append(f"{error.filename} could not be listed ({error.strerror})")

    seen = set()
    for folder, folders, names in os.walk(top, followlinks=True, onerror=note):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        yield folder, folders, names


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "_"))


def _has_another_ending(name: str, stream: str) -> bool:
    """Whether a file is not read for its name, which does not say that it is no data either."""
    if _is_hidden(name) or name.lower().endswith(_NO_DATA):
        return False
    return not name.endswith(endings_of(stream))


def endings_of(stream: str) -> tuple[str, ...]:
    """The endings of files that are read as records of this stream."""
    return tuple(
        ending
        for ending, (format_, _) in ENDINGS.items()
        # no cell of a CSV file holds what was posted
        if not (stream == records.WEBHOOKS and format_ == "csv")
    )


def _landing_file(landing: Path, stream: str, path: Path) -> LandingFile | None:
    if _is_hidden(path.name):
        return None
    for ending in endings_of(stream):
        if path.name.endswith(ending):
            format_, compression = ENDINGS[ending]
            try:
                if not path.is_file():  # a link to nowhere, or a pipe, which could keep us waiting
                    return None
                state = state_of(path)
            except OSError:  # removed since it was listed
                return None
            # A name that is not UTF-8 cannot be kept as text; its odd bytes are spelled out.
            name = os.fsencode(path.relative_to(landing)).decode("utf-8", "backslashreplace")
            return LandingFile(stream, name, path, format_, compression, state)
    return None


def content_hash(path: Path) -> str:
    """SHA-256 of the file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def readable_copy(file: LandingFile, folder: Path, name: str) -> Path:
    """A plain file with the content of `file`, under a name of ours, below `folder`.

    Compressed files are unpacked, whole: DuckDB's own readers stop at the end of a truncated
    gzip or zstd file without a word. Others are linked, because a landing file's name may hold
    characters that a reader takes for a pattern. Raises UnreadableFileError.
    """
    copy = folder / f"{name}.{file.format}"
    if file.compression is None:
        copy.symlink_to(file.path.resolve())
        return copy
    if file.state.size == 0:
        raise UnreadableFileError(f"is empty, which no {file.compression} file is")
    try:
        with (
            file.path.open("rb") as content,
            pa.input_stream(content, compression=file.compression) as packed,
            copy.open("wb") as plain,
        ):
            while chunk := packed.read(_CHUNK):
                plain.write(chunk)
    except pa.ArrowException as error:
        raise UnreadableFileError(f"is not a whole {file.compression} file ({error})") from None
    except OSError as error:
        if error.errno is not None:  # the disk, not the file
            raise
        raise UnreadableFileError(f"is not a whole {file.compression} file ({error})") from None
    return copy


def count_lines(path: Path) -> int:
    """Lines of the file that are not blank."""
    with path.open("rb") as file:
        return sum(not line.isspace() for line in file)


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """(line number from 1, line with its end), without a byte order mark.

    Raises UnreadableFileError at the first line that is not UTF-8.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                text = line.decode("utf-8")
            except UnicodeDecodeError:
                raise UnreadableFileError(f"is not UTF-8 text (line {number})") from None
            yield number, text.removeprefix("\ufeff") if number == 1 else text
