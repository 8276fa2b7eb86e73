"""Whatever happened in between, what is published equals a full copy of the warehouse, row by row,
and every earlier snapshot that is still held equals the copy that was taken of it then."""

from __future__ import annotations

import multiprocessing
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from random import Random

import duckdb
import pytest
import yaml
from compiled import PROJECT
from damaged_file import damage
from hostile import RecordSet, drawn, side_by_side
from incremental_warehouse import SOON_CROWDED, IncrementalWarehouse
from published_readers import hold, read_in_a_loop
from published_snapshots import (
    publish_now,
    published_rows,
    rows_as_of,
    warehouse_rows,
)
from test_incremental_equals_full_refresh import assert_same, split

from endpoint.snapshots import Snapshots
from msgmetrics.catalogue import catalogue
from msgmetrics.changes import changes_between
from msgmetrics.errors import UserError
from msgmetrics.exporting import export
from msgmetrics.published_tables import Mart, marts, table_description, tables_as_of
from msgmetrics.settings import PROJECT_ROOT, Settings
from orchestration import publishing
from orchestration.checks.frames import Scope, Seen, agreement, bounds_of_metrics
from orchestration.checks.published import Look, evaluate, look_at_what_is_new
from orchestration.maintenance import restore_order

SETS = 40
# What is done before each publication; the random part is what the batches hold.
STEPS = (
    ["load", "build"],
    ["load", "build"],
    ["load", "days anew", "build"],
    ["nothing"],
    ["load", "build"],
    ["load", "build"],
    ["load", "everything anew", "build"],
)
BATCHES = sum(steps.count("load") for steps in STEPS)


@dataclass
class History:
    """A warehouse with its publications, and copies of what each was to show and showed.

    without_gate: what a publication shows that no gate has prepared. differing, missing: what the
    gate's frames of what is new told before each publication. put_together: marts of which older
    parts were, before one. unseen, untrue: rows of marts that
    would be new to readers and were not shown to the gate, and rows that it was shown and that the
    warehouse does not hold.
    """

    warehouse: IncrementalWarehouse
    expected: dict[str, dict[str, list]] = field(default_factory=dict)
    shown: dict[str, dict[str, list]] = field(default_factory=dict)
    made_anew: list[str] = field(default_factory=list)
    differing: list[int] = field(default_factory=list)
    missing: list[int] = field(default_factory=list)
    without_gate: dict[str, dict[str, list]] = field(default_factory=dict)
    put_together: list[str] = field(default_factory=list)
    unseen: list[int] = field(default_factory=list)
    untrue: list[int] = field(default_factory=list)

    @property
    def settings(self) -> Settings:
        return self.warehouse.settings


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    random = Random(1)
    history = History(IncrementalWarehouse(tmp_path_factory.mktemp("history"), SOON_CROWDED))
    batches = iter(split(side_by_side(drawn(SETS, 1)), BATCHES, random))
    write = publishing._anew
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            publishing,
            "_anew",
            lambda *args: (history.made_anew.append(args[3].snapshot_id), write(*args)),
        )
        for number, steps in enumerate(STEPS):
            for step in steps:
                _do(step, history.warehouse, batches, random)
            history.put_together += history.warehouse.put_together()
            copied = _copy(history.settings, tmp_path_factory.mktemp("copied") / "home")
            _judge(history, patch)
            snapshot = publish_now(history.settings)
            if number:
                publish_now(copied)
                history.without_gate[snapshot.snapshot_id] = published_rows(copied)
            shutil.rmtree(copied.home)
            history.expected[snapshot.snapshot_id] = warehouse_rows(history.settings)
            history.shown[snapshot.snapshot_id] = published_rows(history.settings)
    return history


def _copy(settings: Settings, target: Path) -> Settings:
    shutil.copytree(settings.home, target, symlinks=True)
    return Settings(home=target)


def _judge(history: History, patch: pytest.MonkeyPatch) -> None:
    """What the gate does before it judges, and what it would judge by; twice, as if what it judged
    first was refused."""
    with history.warehouse.connection() as connection:
        for _ in range(2):
            look, shown = _look(connection, history.settings, patch)
            assert (look.written is None) == (not history.shown)
            if look.written is not None:
                _compare(history, connection, shown)
        compared, _ = agreement(connection, look.scope)
        history.differing.append(int(compared["differing"].sum()))
        bounds = bounds_of_metrics(connection, look.seen)
        history.missing.append(int((~bounds["is_present"]).sum()))


def _look(
    connection: duckdb.DuckDBPyConnection, settings: Settings, patch: pytest.MonkeyPatch
) -> tuple[Look, dict[str, set]]:
    """What the gate looks at, and the rows that it was shown, by mart."""
    shown: dict[str, set] = {name: set() for name in marts()}
    really_look = Seen.look

    def remember(seen: Seen, cursor: duckdb.DuckDBPyConnection, mart: Mart, rows: str) -> None:
        columns = ", ".join((*mart.key_columns, *mart.measures))
        query = f"select {columns} from {rows} as seen_rows"
        shown[mart.name] |= set(cursor.execute(query).fetchall())
        really_look(seen, cursor, mart, rows)

    with patch.context() as patched:
        patched.setattr(Seen, "look", remember)
        return look_at_what_is_new(connection, settings), shown


def _compare(
    history: History, connection: duckdb.DuckDBPyConnection, shown: dict[str, set]
) -> None:
    with duckdb.connect(str(history.settings.published_path), read_only=True) as published:
        for mart in marts().values():
            columns = ", ".join((*mart.key_columns, *mart.measures))
            query = f"select {columns} from {{}}.{mart.name}"
            true = set(connection.execute(query.format("marts")).fetchall())
            new = true - set(published.execute(query.format("main")).fetchall())
            history.unseen.append(len(new - shown[mart.name]))
            history.untrue.append(len(shown[mart.name] - true))


def _do(
    step: str,
    warehouse: IncrementalWarehouse,
    batches: Iterator[RecordSet],
    random: Random,
) -> None:
    if step == "load":
        warehouse.arrive(next(batches), random)
    elif step == "build":
        warehouse.build()
    elif step == "days anew":
        warehouse.backfill(date(2000, 1, 1), date(2026, 5, 15))
    elif step == "everything anew":
        warehouse.backfill(None, None)


@pytest.fixture
def home(history: History, tmp_path: Path) -> Settings:
    """A copy of the whole home, to be damaged."""
    return _copy(history.settings, tmp_path / "home")


def test_every_publication_equals_a_full_copy(history: History) -> None:
    for snapshot, expected in history.expected.items():
        assert_same(history.shown[snapshot], expected)


def test_only_the_first_publication_copies_everything(history: History) -> None:
    assert len(set(history.put_together)) > 20, "of some marts parts were put together meanwhile"
    assert history.made_anew == [min(history.shown)]
    assert len(list(history.settings.snapshots_dir.iterdir())) == 2


def test_earlier_snapshots_are_what_they_were(history: History) -> None:
    for snapshot, expected in history.expected.items():
        then = {name: expected[name] for name in tables_as_of("0")}
        assert_same(rows_as_of(history.settings, snapshot), then)


def test_the_endpoint_reads_earlier_snapshots_as_they_were(history: History) -> None:
    snapshots = Snapshots(history.settings)
    for snapshot_id, expected in history.expected.items():
        with snapshots.earlier(snapshot_id) as snapshot:
            assert snapshot.snapshot_id == snapshot_id
            for table in ("messages", "minutely", "hourly_by_url", "daily_by_account"):
                rows = snapshot.rows(f"select * from {table} order by all", [])
                assert_same({table: rows}, {table: expected[table]})
            assert snapshot.tables.keys() >= {"messages", "daily_by_account"}
    snapshots.close()


def test_a_publication_that_no_gate_has_prepared_shows_the_same(history: History) -> None:
    for snapshot, rows in history.without_gate.items():
        assert_same(rows, history.expected[snapshot])


def test_the_gate_finds_nothing_in_true_data_that_is_new(history: History) -> None:
    assert history.differing == [0] * len(STEPS)
    assert history.missing == [0] * len(STEPS)


def test_a_gate_is_shown_every_row_that_would_be_new_to_readers_and_so_is_one_after_it_refused(
    history: History,
) -> None:
    judged = 2 * (len(STEPS) - 1) * len(marts())
    assert history.unseen == [0] * judged
    assert history.untrue == [0] * judged


def test_no_address_of_an_end_user_is_in_a_published_file(history: History) -> None:
    with history.warehouse.connection() as connection:
        (addresses,) = connection.execute(
            "select list(distinct case when direction = 'OUTBOUND' then recipient else sender end) "
            "from raw.messages"
        ).fetchone()
        (companies,) = connection.execute(
            "select list(distinct case when direction = 'OUTBOUND' then sender else recipient end) "
            "from raw.messages"
        ).fetchone()
    for file in history.settings.snapshots_dir.iterdir():
        with duckdb.connect(str(file), read_only=True) as published:
            columns = published.execute(
                "select table_name, column_name from duckdb_columns() "
                "where data_type = 'VARCHAR' and not internal and column_name "
                "not in ('message_id', 'account_key', 'url', 'sender')"
            ).fetchall()
            assert not {"recipient", "end_user_address"} & {name for _, name in columns}
            for table, column in columns:
                found = published.execute(
                    f"select distinct {column} from {table} where list_contains($1, {column})",
                    [sorted(set(addresses) - set(companies))],
                ).fetchall()
                # A domain alone is published; an address that is nothing else may look like one.
                assert not found or column in ("sender_domain", "recipient_domain"), (table, column)


def stated_types() -> dict[str, dict[str, str]]:
    """Types by column of every model and seed that is published, as the yml files state them."""
    types = {}
    for file in [*(PROJECT / "models").rglob("*.yml"), PROJECT_ROOT / "seeds" / "_seeds.yml"]:
        found = yaml.safe_load(file.read_text("utf-8"))
        for model in found.get("models", []):
            if model.get("config", {}).get("contract", {}).get("enforced"):
                columns = model["columns"]
                types[model["name"]] = {one["name"]: one["data_type"] for one in columns}
        types |= {seed["name"]: seed["config"]["column_types"] for seed in found.get("seeds", [])}
    return types


def test_every_published_table_keeps_a_contract_to_the_type(history: History) -> None:
    found: dict[str, dict[str, str]] = {}
    with duckdb.connect(str(history.settings.published_path), read_only=True) as published:
        for table, column, kind in published.execute(
            "select table_name, column_name, data_type from duckdb_columns() where not internal "
            "and not ends_with(table_name, 'snapshots') and not ends_with(table_name, '_changes') "
            "order by table_name, column_index"
        ).fetchall():
            found.setdefault(table, {})[column] = kind
    known = stated_types()
    assert found.keys() == known.keys() - {"drop_reasons", "event_types"}
    for table, columns in found.items():
        stated = {name: kind.upper().replace(", ", ",") for name, kind in known[table].items()}
        assert columns == stated, table


def test_every_published_table_and_column_says_what_it_is(history: History) -> None:
    with duckdb.connect(str(history.settings.published_path), read_only=True) as published:
        tables = dict(
            published.execute(
                "select table_name, comment from duckdb_tables() where not internal union all "
                "select view_name, comment from duckdb_views() where not internal"
            ).fetchall()
        )
        columns = dict(
            published.execute(
                "select table_name || '.' || column_name, comment from duckdb_columns() "
                "where not internal"
            ).fetchall()
        )
    assert len(tables) > 60
    assert {name for name, words in {**tables, **columns}.items() if not words} == set()
    assert tables["daily_by_sender"] == table_description("daily_by_sender", catalogue())
    assert tables["countries"] == "Countries of ISO 3166-1 by number. One row per country."
    assert columns["time_buckets.lower_seconds"].startswith("Shortest duration in the bucket")


# --- what may go wrong --------------------------------------------------------------------------


def test_a_part_that_no_message_stands_behind_is_told_by_the_gate(home: Settings) -> None:
    with duckdb.connect(str(home.warehouse_path)) as connection:
        connection.execute(
            "insert into parts.hourly_by_sender by name select batch_id + 1 as batch_id, "
            "* exclude (batch_id) from parts.hourly_by_sender limit 1"
        )
        (batch,) = connection.execute("select max(batch_id) from raw.batches").fetchone()
        compared, rows = agreement(connection, Scope(batch))
        assert compared.set_index("mart")["differing"]["hourly_by_sender"] == 1
        assert [row["mart"] for row in rows] == ["hourly_by_sender"]


@pytest.mark.parametrize("judged", ["every row", "nothing"])
def test_what_an_earlier_gate_had_prepared_is_not_published(home: Settings, judged: str) -> None:
    """After a gate that looks at every row, or one that finds nothing new in a warehouse that was
    put back."""
    with duckdb.connect(str(home.warehouse_path)) as connection:
        assert look_at_what_is_new(connection, home).written is not None
        (prepared,) = home.snapshots_dir.glob("*.prepared")
        with duckdb.connect(str(prepared)) as file:
            file.execute("update daily_by_sender set delivered = delivered + 1000")
            if judged == "nothing":
                file.execute("update snapshots set batch_id = batch_id + 1")
        if judged == "every row":
            assert look_at_what_is_new(connection, home, every_row=True).written is None
    publish_now(home)
    assert_same(published_rows(home), warehouse_rows(home))
    assert len(list(home.snapshots_dir.iterdir())) == 2


@pytest.mark.parametrize(
    ("damage", "broken"),
    [
        ("delete from facts.marks where relation = 'daily_by_sender'", set()),
        ("drop view marts.messages", {"data_is_fresh"}),
    ],
)
def test_where_no_file_can_be_prepared_each_check_tells_whether_it_is_broken(
    home: Settings, damage: str, broken: set[str]
) -> None:
    with duckdb.connect(str(home.warehouse_path)) as connection:
        connection.execute(damage)
        look = look_at_what_is_new(connection, home)
        assert look.written is None
        verdicts = {check.name: verdict for check, verdict in evaluate(look)}
    assert {name for name, verdict in verdicts.items() if verdict.broken is not None} == broken
    assert not list(home.snapshots_dir.glob("*.prepared*"))


def test_a_reader_keeps_its_snapshot_through_three_publications(home: Settings) -> None:
    there = multiprocessing.get_context("spawn")
    opened, may_go, rows = there.Event(), there.Event(), there.Queue()
    before = published_rows(home)["messages"]
    reader = there.Process(target=hold, args=(str(home.published_path), opened, may_go, rows))
    reader.start()
    try:
        assert opened.wait(300)
        for _ in range(3):
            publish_now(home)
        assert_same(published_rows(home), warehouse_rows(home))
        assert len(list(home.snapshots_dir.iterdir())) == 3, "shown, next, and the one that is read"
        may_go.set()
        assert rows.get(timeout=300) == before
    finally:
        may_go.set()
        reader.join(60)
    publish_now(home)
    assert len(list(home.snapshots_dir.iterdir())) == 2


def test_readers_in_a_loop_see_whole_snapshots_through_ten_publications(home: Settings) -> None:
    there = multiprocessing.get_context("spawn")
    stop, found = there.Event(), there.Queue()

    def publish_number(number: int) -> None:
        with duckdb.connect(str(home.warehouse_path)) as connection:
            connection.execute(f"update marts.accounts set name = '{number}'")
            publishing.publish(
                connection, home, now=datetime.now(UTC), checks_passed=number, checks_warned=0
            )

    publish_number(0)
    reader = there.Process(target=read_in_a_loop, args=(str(home.published_path), stop, found))
    reader.start()
    try:
        for number in range(1, 11):
            publish_number(number)
    finally:
        stop.set()
    seen, problems = found.get(timeout=300)
    reader.join(60)
    assert problems == []
    assert seen == sorted(seen) and len(set(seen)) > 1


def test_a_damaged_file_is_made_anew_and_the_damage_goes_no_further(home: Settings) -> None:
    current = home.published_path.resolve()
    current.write_bytes(b"damaged" * 1000)
    publish_now(home)
    assert_same(published_rows(home), warehouse_rows(home))
    assert not current.exists()


def test_a_file_made_anew_still_leads_to_earlier_snapshots(
    home: Settings, history: History
) -> None:
    publish_now(home, anew=True)
    first, expected = next(iter(history.expected.items()))
    assert_same(published_rows(home), warehouse_rows(home))
    then = {name: expected[name] for name in tables_as_of("0")}
    assert_same(rows_as_of(home, first), then)


def test_maintenance_writes_in_order_what_was_brought_forward_once(home: Settings) -> None:
    before = published_rows(home)
    with duckdb.connect(str(home.warehouse_path)) as connection:
        room = restore_order(connection, home, datetime.now(UTC))
        assert room is not None and room.after <= room.before
        assert restore_order(connection, home, datetime.now(UTC)) is None
    assert_same(published_rows(home), before)
    with duckdb.connect(str(home.published_path), read_only=True) as published:
        for mart in ("hourly_by_sender", "daily_by_country"):
            keys = published.execute(f"select account_key, period_start from {mart}").fetchall()
            assert keys == sorted(keys)


def test_a_full_disk_leaves_the_last_snapshot_and_no_rest(
    home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = published_rows(home)

    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(publishing, "sync", full)
        with pytest.raises(UserError, match="make room and run again"):
            publish_now(home)
    assert_same(published_rows(home), shown)
    assert not list(home.snapshots_dir.glob("*.building*"))
    publish_now(home)
    assert_same(published_rows(home), warehouse_rows(home))


def test_a_clock_that_goes_back_does_not_take_snapshots_back(home: Settings) -> None:
    last = publish_now(home)
    with duckdb.connect(str(home.warehouse_path)) as connection:
        early = publishing.publish(
            connection,
            home,
            now=datetime(2020, 1, 1, tzinfo=UTC),
            checks_passed=1,
            checks_warned=0,
        )
    assert early.snapshot_id > last.snapshot_id
    assert early.published_at > last.published_at and early.as_of >= last.as_of
    assert rows_as_of(home, last.snapshot_id).keys() == tables_as_of("0").keys()


def test_snapshots_past_keeping_are_gone_and_so_are_their_changes(home: Settings) -> None:
    short = home.model_copy(update={"snapshot_hours": 0.0})
    last = publish_now(short)
    with duckdb.connect(str(short.published_path), read_only=True) as published:
        assert published.execute("select count(*) from earlier_snapshots").fetchone() == (0,)
        assert published.execute("select count(*) from messages_changes").fetchone() == (0,)
        with pytest.raises(duckdb.Error, match="No snapshot of that id"):
            published.execute("from daily_by_channel_as_of('nothing')").fetchall()
        published.execute(f"from daily_by_channel_as_of('{last.snapshot_id}')").fetchall()


def test_new_models_begin_a_new_file_and_the_old_one_leads_to_its_snapshots(
    home: Settings, history: History
) -> None:
    with duckdb.connect(str(home.warehouse_path)) as connection:
        connection.execute("update facts.marks set definition = 'other' where relation = 'build'")
    publish_now(home)
    publish_now(home)
    snapshots = Snapshots(home)
    for snapshot_id, expected in history.expected.items():
        with snapshots.earlier(snapshot_id) as snapshot:
            rows = snapshot.rows("select * from messages order by all", [])
            assert_same({"messages": rows}, {"messages": expected["messages"]})
    snapshots.close()


# --- what changed, and export ---------------------------------------------------------------------


def test_changes_between_two_snapshots_lead_from_one_to_the_other(history: History) -> None:
    first, *_, last = history.expected
    found = changes_between(
        history.settings, since=first, upto=last, mart="daily_by_channel", limit=10**6
    )
    keys = ("period_start", "account_key", "channel_code")
    mart = marts()["daily_by_channel"]
    columns = list(mart.stored)

    def measures(snapshot: str) -> dict[tuple, object]:
        return {
            (*(row[columns.index(key)] for key in keys), name): row[columns.index(name)]
            for row in history.expected[snapshot]["daily_by_channel"]
            for name in mart.measures
            if row[columns.index(name)]
        }

    before, after = measures(first), measures(last)
    expected = {
        key: (before.get(key, 0), after.get(key, 0))
        for key in before.keys() | after.keys()
        if before.get(key, 0) != after.get(key, 0)
    }
    assert {
        (*(row[key] for key in keys), row["measure"]): (row["before"], row["after"])
        for row in found["rows"]
    } == expected
    for wrong, said in (
        ({"since": "nothing"}, "is not held"),
        ({"mart": "daily_by_account"}, "is a view of daily_by_channel"),
        ({"mart": "weekly"}, "There is no mart 'weekly'"),
        ({"account": "nobody"}, "There is no account 'nobody'"),
    ):
        with pytest.raises(UserError, match=said):
            asked = {"since": None, "upto": None, "mart": "minutely"} | wrong
            changes_between(history.settings, **asked)


def test_an_export_holds_every_row_and_the_next_writes_what_changed(
    home: Settings, tmp_path: Path
) -> None:
    lake = tmp_path / "lake"
    assert export(home, lake)["days"] is None
    again = export(home, lake)
    assert again["days"] == 0
    for table in ("messages", "hourly_by_country", "daily_by_account", "url_clicks"):
        with duckdb.connect() as connection:
            exported = connection.execute(
                f"select * exclude (day) from read_parquet('{lake}/{table}/day=*/*.parquet', "
                "hive_partitioning = true) order by all"
            ).fetchall()
        assert_same({table: exported}, {table: published_rows(home)[table]})
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    with pytest.raises(UserError, match="a folder of its own"):
        export(home, tmp_path / "other")


def test_of_a_damaged_block_a_user_is_told_in_which_file_it_is_and_what_to_do(
    home: Settings, tmp_path: Path
) -> None:
    damage(home.published_path.resolve(), "hourly_by_country")
    for ask in (
        lambda: export(home, tmp_path / "lake"),
        lambda: changes_between(home, since=None, upto=None, mart="hourly_by_country"),
    ):
        with pytest.raises(UserError) as told:
            ask()
        assert str(home.published_path) in str(told.value)
        assert "run --republish" in str(told.value)
    publish_now(home, anew=True)
    assert export(home, tmp_path / "lake")["days"] is None


def test_a_folder_shows_whether_its_export_is_whole(home: Settings, tmp_path: Path) -> None:
    being_written, state = tmp_path / "lake" / ".being-written", tmp_path / "lake" / "_export.json"

    def stop(done: int, total: int) -> None:
        if done == total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(home, tmp_path / "lake", progress=stop)
    assert being_written.exists()
    assert not state.exists()
    assert export(home, tmp_path / "lake")["days"] is None
    assert not being_written.exists()
    assert state.exists()
