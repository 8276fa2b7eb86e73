"""The file formats: each turned into rows of text for `records` to judge.

There are two ways to read JSON Lines and CSV. The fast way is DuckDB's own reader over many files
at once; it has no line numbers and no raw text, so it is for files without a broken record. The
careful way splits one file into records in Python, each with its line number and raw text, and has
the same SQL judge them. What the fields are, and what a valid value is, stands in `records`.
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import duckdb
import pyarrow as pa

from orchestration.loading.landing import UnreadableFileError, text_lines
from orchestration.loading.records import Stream, is_borne, plain_number
from orchestration.loading.system import system_refuses

# A line may be this long in the fast way (bytes); a longer one sends its file the careful way.
_LONGEST_LINE = 2 << 20
_BATCH_RECORDS = 50_000
_BATCH_CHARACTERS = 32 << 20

# DuckDB's JSON functions read numbers as doubles, and let trailing commas, NaN and Infinity pass.
# Lines in which that could matter are put into strict form by `strict_json` before the fields are
# taken: what looks like those liberties, numbers whose spelling or last digit a double would lose,
# and names spelled with escapes, of which one cannot see what they name.
_SUSPICIOUS = (
    r",\s*[}}\]]|[:\[,]\s*-?(?i:nan|inf)"
    r'|"({texts})"\s*:\s*(-0|-?[0-9]+[.eE])'
    r'|"({numbers})"\s*:\s*-?([0-9.]+[eE]|[0-9]*\.[0-9]{{7}}|[0-9]{{10,}}\.)'
    r'|\\u00[0-9a-fA-F]{{2}}[^"]*"\s*:'
)
# json_merge_patch calls itself for each level of nesting; a line this short cannot exhaust a stack.
_SHORT_LINE = 64 << 10

_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+"|[{}\[\],:]|[^\s"{}\[\],:]+')
_STRICT_WORD = re.compile(r"-?[0-9]|true|false|null")
_NUMBER_START = tuple("-0123456789")


def _members(line: str) -> dict[str, str]:
    """The outermost members of a JSON object, values as they are spelled; repeated: the first.

    `line` is JSON as DuckDB understands it. Raises ValueError where strict JSON differs. Nesting
    may be of any depth, so nothing here recurs.
    """
    members: dict[str, str] = {}
    depth = start = 0
    name: str | None = None
    previous = ""
    for match in _TOKEN.finditer(line):
        token = match.group()
        if token in ("}", "]"):
            depth -= 1
            if previous == ",":
                raise ValueError("a comma before the end")
        elif token in ("{", "["):
            depth += 1
        elif token == ":" and depth == 1:
            name, start = json.loads(previous), match.end()
        elif token[0] not in '",:' and not _STRICT_WORD.match(token):
            raise ValueError(f"{token} is not JSON")
        if name is not None and (depth == 0 or depth == 1 and token == ","):
            members.setdefault(name, line[start : match.start()].strip())
            name = None
        previous = token
    return members


def strict_json(line: str | None, names: list[str]) -> str | None:
    """The JSON object of a line with the numbers of the members `names` as texts, each member once.

    None if the line is not strict JSON.
    """
    if line is None or not line.lstrip().startswith("{"):
        return line
    try:
        members = _members(line)
    except ValueError:
        return None
    return _object(
        (name, f'"{value}"' if name in names and value.startswith(_NUMBER_START) else value)
        for name, value in members.items()
    )


def other_members(document: str | None, names: list[str]) -> str | None:
    """The JSON object without the members `names`; None if the document is no JSON object."""
    try:
        members = _members(document or "")
    except ValueError:
        return None
    return _object((name, value) for name, value in members.items() if name not in names)


def _object(members: Iterable[tuple[str, str]]) -> str:
    return "{" + ",".join(f"{json.dumps(name)}:{value}" for name, value in members) + "}"


def prepare(connection: duckdb.DuckDBPyConnection) -> None:
    """What the SQL of this module needs of a connection."""
    connection.execute("set timezone = 'UTC'")
    for function, parameters in (
        (strict_json, ["varchar", "varchar[]"]),
        (other_members, ["varchar", "varchar[]"]),
        (plain_number, ["varchar"]),
    ):
        # Since an earlier load they are known to this connection, or to another of this process.
        with suppress(duckdb.NotImplementedException, duckdb.CatalogException):
            connection.create_function(
                function.__name__, function, parameters, "varchar", null_handling="special"
            )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _path_list(paths: list[Path]) -> str:
    return "[" + ", ".join(_literal(str(path)) for path in paths) + "]"


def _file_id(column: str) -> str:
    """SQL: the number that `landing.readable_copy` named the file with."""
    return f"regexp_extract({column}, '([0-9]+)\\.[a-z]+$', 1)::integer"


# --- JSON Lines ------------------------------------------------------------------------------


def _json_texts(stream: Stream, lines: str, refused: str = "null") -> str:
    """SQL: the fields of a relation of (file_id, row_number, raw, line)."""
    spec = json.dumps({name: "VARCHAR" for name in stream.field_names})
    suspicious = _SUSPICIOUS.format(
        texts="|".join(field.name for field in stream.fields if field.kind == "text"),
        numbers="|".join(field.name for field in stream.fields if field.is_number),
    )
    known = "[" + ", ".join(f"'{name}'" for name in stream.field_names) + "]"
    no_known = json.dumps({name: None for name in stream.field_names})
    fields = ",\n        ".join(f"nullif(t.{name}, '') as {name}" for name in stream.field_names)
    present = " + ".join(f"(t.{name} is not null)::integer" for name in stream.field_names)
    nested = " or ".join(f"t.{name}[1] in ('{{', '[')" for name in stream.field_names)
    nested_names = ", ".join(
        f"case when {is_borne(field, 't.') or 'true'} "
        f"and json_type(document, '$.{field.name}') in ('OBJECT', 'ARRAY') then '{field.name}' end"
        for field in stream.fields
    )
    return f"""
    select
        file_id,
        row_number,
        raw,
        case
            when len(names) > {present}
                and not list_has_all({known}, names)
            then case
                when strlen(document) <= {_SHORT_LINE} then json_merge_patch(document, '{no_known}')
                else other_members(document, {known})
            end
        end as extra,
        case
            when {refused} is not null then {refused}
            when t is null and not coalesce(json_valid(document), false) then 'is not valid JSON'
            when t is null or json_type(document) <> 'OBJECT' then 'is not a JSON object'
            when {nested} then nullif(
                list_aggregate([{nested_names}], 'string_agg', ', '), ''
            ) || ' is a list or an object, not one value'
        end as refused,
        {fields}
    from (
        select
            *,
            try(json_transform(document, '{spec}')) as t,
            try(json_keys(document)) as names
        from (
            select
                *,
                case
                    when regexp_matches(line, '{suspicious}') and json_valid(line)
                    then strict_json(line, {known})
                    else line
                end as document
            from ({lines})
        )
    )
    """


def jsonl_fast(stream: Stream, paths: list[Path]) -> str:
    """SQL: the records of JSON Lines files, read by DuckDB."""
    return _json_texts(
        stream,
        f"select {_file_id('filename')} as file_id, null::bigint as row_number, "
        "null::varchar as raw, line from "
        f"{jsonl_lines(paths)} where line is not null and trim(line, e' \\t\\r\\n') <> ''",
    )


def jsonl_lines(paths: list[Path]) -> str:
    """SQL: a table function call that yields each line of the files, blank ones too."""
    # No control character may stand in valid JSON, so this delimiter splits no good line.
    return (
        f"read_csv({_path_list(paths)}, columns = {{'line': 'VARCHAR'}}, auto_detect = false, "
        "header = false, delim = e'\\x1f', quote = '', escape = '', "
        f"max_line_size = {_LONGEST_LINE}, filename = true, hive_partitioning = false)"
    )


def jsonl_careful(stream: Stream, path: Path) -> Iterator[tuple[pa.Table, str]]:
    """Batches of one JSON Lines file, and the SQL over `batch` that yields their records."""
    sql = _json_texts(
        stream, "select $file_id::integer as file_id, row_number, line as raw, line from batch"
    )
    numbers: list[int] = []
    lines: list[str] = []
    size = 0
    for number, line in text_lines(path):
        line = line.rstrip("\r\n")
        if not line.strip(" \t\r\n"):
            continue
        numbers.append(number)
        lines.append(line)
        size += len(line)
        if len(lines) >= _BATCH_RECORDS or size > _BATCH_CHARACTERS:
            yield _line_batch(numbers, lines), sql
            numbers, lines, size = [], [], 0
    if lines:
        yield _line_batch(numbers, lines), sql


def _line_batch(numbers: list[int], lines: list[str]) -> pa.Table:
    return pa.table(
        {
            "row_number": pa.array(numbers, pa.int64()),
            "line": pa.array(lines, pa.large_string()),
        }
    )


# --- CSV -------------------------------------------------------------------------------------


def csv_header(path: Path) -> tuple[str, ...]:
    """The column names of a CSV file, none if it is empty.

    Raises UnreadableFileError where a name stands twice, for no one could say which column is
    meant, and where they are not separated by commas.
    """
    csv.field_size_limit(1 << 30)
    reader = csv.reader((text for _, text in text_lines(path)), strict=True)
    try:
        header = next(filter(_is_filled, reader), [])
    except csv.Error as error:
        raise UnreadableFileError(f"has no readable header ({error})") from None
    if len(header) == 1 and (separators := [mark for mark in ";\t|" if mark in header[0]]):
        raise UnreadableFileError(
            f"separates the names in its header by {separators[0]!r}, where CSV has commas"
        )
    if any("\0" in name for name in header):
        raise UnreadableFileError("has a NUL character in its header")
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise UnreadableFileError(f"names {', '.join(twice)} twice in its header")
    return tuple(header)


def _is_filled(row: list[str]) -> bool:
    """Whether a row of a CSV file is not just a blank line."""
    return len(row) > 1 or bool(row and row[0].strip(" \t\r\n"))


def _csv_extra(stream: Stream, header: tuple[str, ...]) -> str:
    """SQL: the unknown columns that are filled, as one JSON object, else null."""
    unknown = [
        (name, f"c{position}")
        for position, name in enumerate(header)
        if name not in stream.field_names
    ]
    if not unknown:
        return "null::varchar"
    any_filled = " or ".join(f"nullif({column}, '') is not null" for _, column in unknown)
    pairs = ", ".join(f"{_literal(name)}, {column}" for name, column in unknown)
    return f"case when {any_filled} then json_object({pairs})::varchar end"


def _csv_fields(stream: Stream, header: tuple[str, ...]) -> str:
    position = {name: f"c{index}" for index, name in enumerate(header)}
    return ",\n        ".join(
        (f"nullif({position[name]}, '')" if name in position else "null::varchar") + f" as {name}"
        for name in stream.field_names
    )


def csv_fast(stream: Stream, paths: list[Path], header: tuple[str, ...]) -> str:
    """SQL: the records of CSV files with this header, read by DuckDB."""
    columns = ", ".join(f"'c{position}': 'VARCHAR'" for position in range(len(header)))
    return f"""
    select
        {_file_id("filename")} as file_id,
        null::bigint as row_number,
        null::varchar as raw,
        {_csv_extra(stream, header)} as extra,
        null::varchar as refused,
        {_csv_fields(stream, header)}
    from read_csv(
        {_path_list(paths)}, columns = {{{columns}}}, auto_detect = false, header = true,
        delim = ',', quote = '"', escape = '"', strict_mode = true, null_padding = false,
        max_line_size = {_LONGEST_LINE}, filename = true, hive_partitioning = false
    )
    """


def count_csv_records(path: Path, width: int) -> int | None:
    """Records of a CSV file of `width` columns; None if any of them is broken.

    DuckDB lets a row pass that has one empty field too many, and takes a blank line for the header.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="\n") as lines:
            rows = list(filter(None, (_width(row) for row in csv.reader(lines, strict=True))))
    except (csv.Error, UnicodeDecodeError):
        return None
    return len(rows) - 1 if set(rows) == {width} else None


def _width(row: list[str]) -> int:
    return len(row) if _is_filled(row) else 0


def csv_careful(
    stream: Stream, path: Path, header: tuple[str, ...]
) -> Iterator[tuple[pa.Table, str]]:
    """Batches of one CSV file, and the SQL over `batch` that yields their records."""
    sql = _csv_texts(stream, header, "$file_id::integer")
    rows: list[tuple[int, str, str | None, list[str]]] = []
    size = 0
    for number, raw, refused, values in _csv_records(path, len(header)):
        rows.append((number, raw, refused, values))
        size += len(raw)
        if len(rows) >= _BATCH_RECORDS or size > _BATCH_CHARACTERS:
            yield _csv_batch(rows, len(header)), sql
            rows, size = [], 0
    if rows:
        yield _csv_batch(rows, len(header)), sql


def _csv_texts(stream: Stream, header: tuple[str, ...], file_id: str) -> str:
    """SQL: the fields of a relation `batch` of (row_number, raw, refused, c0, c1, ...)."""
    return f"""
    select
        {file_id} as file_id,
        row_number,
        raw,
        {_csv_extra(stream, header)} as extra,
        refused,
        {_csv_fields(stream, header)}
    from batch
    """


def _csv_records(path: Path, width: int) -> Iterator[tuple[int, str, str | None, list[str]]]:
    """(line on which the record starts, raw text, what is wrong with it, its values)."""
    consumed: list[str] = []
    line_number = 0

    def lines() -> Iterator[str]:
        nonlocal line_number
        for number, text in text_lines(path):
            line_number = number
            consumed.append(text)
            yield text

    reader = csv.reader(lines(), strict=True)
    next(filter(_is_filled, reader), None)  # the header, which csv_header has read
    while True:
        consumed.clear()
        refused, values = None, []
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            refused = f"is not a CSV row ({error})"
        raw = "".join(consumed)
        if not raw.strip(" \t\r\n"):
            continue
        refused = refused or _wrong_width(values, width)
        if refused is not None:
            values = [""] * width
        yield line_number - len(consumed) + 1, raw.rstrip("\r\n"), refused, values


def _wrong_width(values: list[str], width: int) -> str | None:
    if len(values) == width:
        return None
    return f"has {len(values)} fields where the header has {width}"


def _csv_batch(rows: list[tuple[int, str, str | None, list[str]]], width: int) -> pa.Table:
    columns = {
        "row_number": pa.array([row[0] for row in rows], pa.int64()),
        "raw": pa.array([row[1] for row in rows], pa.large_string()),
        "refused": pa.array([row[2] for row in rows], pa.large_string()),
    }
    for position in range(width):
        columns[f"c{position}"] = pa.array([row[3][position] for row in rows], pa.large_string())
    return pa.table(columns)


# --- raw text that was kept ------------------------------------------------------------------

# The format in which a refused record's raw text is kept, by that of its file.
KEPT_AS = {"jsonl": "json", "csv": "csv", "parquet": "json"}


def kept_json(stream: Stream, lines: str) -> str:
    """SQL: the records of a relation of (file_id, row_number, raw, line), where a line is a JSON
    Lines file's, or what `parquet` made of a row."""
    return _json_texts(stream, lines)


def kept_csv(
    stream: Stream, header: tuple[str, ...], kept: Iterable[tuple[int, int, str]]
) -> tuple[pa.Table, str]:
    """A batch of these (file_id, row_number, raw text), and the SQL over `batch` that yields their
    records; `header` is that of their files."""
    csv.field_size_limit(1 << 30)
    file_ids, rows = [], []
    for file_id, number, raw in kept:
        refused, values = None, []
        try:
            read = list(filter(_is_filled, csv.reader(io.StringIO(raw, newline=""), strict=True)))
            if len(read) == 1:
                (values,) = read
            else:
                refused = f"is not a CSV row ({len(read)} rows in one)"
        except csv.Error as error:
            refused = f"is not a CSV row ({error})"
        refused = refused or _wrong_width(values, len(header))
        file_ids.append(file_id)
        rows.append((number, raw, refused, [""] * len(header) if refused else values))
    batch = _csv_batch(rows, len(header))
    batch = batch.append_column("file_id", pa.array(file_ids, pa.int32()))
    return batch, _csv_texts(stream, header, "file_id")


# --- Parquet ---------------------------------------------------------------------------------

_MOST_DECIMAL_DIGITS = 38
_NOT_THE_FILES_FAULT = (
    duckdb.BinderException,
    duckdb.CatalogException,
    duckdb.ParserException,
)


def parquet_columns(
    connection: duckdb.DuckDBPyConnection, path: Path
) -> tuple[tuple[str, str], ...]:
    """(name, type) of each column.

    Raises UnreadableFileError, also where two columns have one name: DuckDB, to which large and
    small letters are the same, calls the second one x_1, and no one could say which is meant. And
    where decimals are longer than DuckDB's own, because it reads wrong numbers from them.
    """
    try:
        described = connection.execute(
            "describe select * from read_parquet(?, binary_as_string = true, "
            "hive_partitioning = false)",
            [str(path)],
        ).fetchall()
        schema = connection.execute(
            "select name, precision from parquet_schema(?)", [str(path)]
        ).fetchall()
    except duckdb.Error as error:
        raise unreadable_parquet(error, path) from None
    columns = tuple((str(name), str(type_)) for name, type_, *_ in described)
    names = [name for name, _ in schema]
    renamed = sorted(name for name, _ in columns if name not in names)
    if len(renamed) > names.count(""):
        raise UnreadableFileError(
            f"has two columns of one name, large and small letters being the same "
            f"({', '.join(renamed)} is the second)"
        )
    too_long = [name for name, precision in schema if (precision or 0) > _MOST_DECIMAL_DIGITS]
    if too_long:
        raise UnreadableFileError(
            f"holds decimals of more than {_MOST_DECIMAL_DIGITS} digits ({', '.join(too_long)})"
        )
    return columns


def unreadable_parquet(error: duckdb.Error, path: Path) -> Exception:
    """What an error of DuckDB says of the Parquet file, or the error if it says nothing of it."""
    if isinstance(error, _NOT_THE_FILES_FAULT) or system_refuses(error):
        return error
    first_line = str(error).strip().splitlines()[0].replace(f'"{path}"', "the file")
    first_line = first_line.replace(str(path), "the file")
    # A reason is shown in lists and logs: it holds no value of a record, which may be an address.
    first_line = re.sub('".*"', "...", first_line)
    return UnreadableFileError(f"is not a readable Parquet file ({first_line})")


def parquet(
    stream: Stream, paths: list[Path], columns: tuple[tuple[str, str], ...], *, careful: bool
) -> str:
    """SQL: the records of Parquet files that have these columns; careful: with row and raw text."""
    types = dict(columns)
    file_name = "landing file"
    while file_name in types:
        file_name += "_"
    nested = [
        name
        for name in stream.field_names
        if types.get(name, "").endswith("]") or types.get(name, "").startswith(("STRUCT", "MAP"))
    ]
    fields = []
    for name in stream.field_names:
        if name not in types or name in nested:
            fields.append(f"null::varchar as {name}")
        elif types[name] == "TIMESTAMP WITH TIME ZONE":
            instant = f"try(strftime({_quoted(name)}::timestamp, '%Y-%m-%dT%H:%M:%S.%fZ'))"
            fields.append(f"coalesce({instant}, {_quoted(name)}::varchar) as {name}")
        else:
            fields.append(f"nullif({_quoted(name)}::varchar, '') as {name}")
    refused = "null::varchar"
    if nested:
        cases = " ".join(
            f"when {_quoted(field.name)} is not null and {is_borne(field) or 'true'} "
            f"then '{field.name} is a list or an object, not one value'"
            for field in stream.fields
            if field.name in nested
        )
        refused = f"case {cases} end"
    unknown = [name for name in types if name not in stream.field_names]
    extra = "null::varchar"
    if unknown:
        any_filled = " or ".join(f"{_quoted(name)} is not null" for name in unknown)
        extra = f"case when {any_filled} then {_json_object(unknown, types)} end"
    raw = _json_object(list(types), types) if careful else "null::varchar"
    names = ",\n        ".join(fields)
    return f"""
    select
        {_file_id(_quoted(file_name))} as file_id,
        {"row_number() over ()" if careful else "null::bigint"} as row_number,
        {raw} as raw,
        {extra} as extra,
        {refused} as refused,
        {names}
    from read_parquet(
        {_path_list(paths)}, binary_as_string = true, hive_partitioning = false,
        filename = '{file_name}'
    )
    """


def _json_object(names: list[str], types: dict[str, str]) -> str:
    """SQL: these columns as one JSON object; a number that JSON does not know, or spells in its own
    way, as its text."""
    pairs = []
    for name in names:
        value = _quoted(name)
        if types[name] in ("FLOAT", "DOUBLE"):
            # By way of its text, so that a FLOAT shows no digits that it does not have; and as a
            # text where a number would be spelled otherwise than a text field takes it.
            text = f"{value}::varchar"
            value = (
                f"case when isfinite({value}) and not contains({text}, 'e') "
                f"then to_json({text}::double) else to_json({text}) end"
            )
        pairs.append(f"{_literal(name)}, {value}")
    return f"json_object({', '.join(pairs)})::varchar"
