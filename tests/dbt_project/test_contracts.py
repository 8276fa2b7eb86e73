"""The contracts of the marts are the catalogue's, and what breaks one is not built.

`python tests/dbt_project/test_contracts.py` writes those of the marts anew.
"""

import textwrap

import duckdb
import pytest
import yaml
from compiled import PROJECT
from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.cli.main import dbtRunner
from small_world import create_raw_records

from msgmetrics.catalogue import catalogue
from msgmetrics.published_tables import VIEWS, Mart, column_descriptions, marts

CONTRACTS = PROJECT / "models" / "marts" / "_marts__contracts.yml"
_MINUTELY = (
    "Sums of all measures for the finest granularity of the fixed query. One row per minute of "
    "sending, account and channel that has a message."
)


def contracts_of_marts() -> str:
    """The file: each column described once, each list of columns once for hours and days."""
    known, tables = catalogue(), marts()
    anchors = dict.fromkeys(
        (column, kind) for mart in tables.values() for column, kind in mart.types.items()
    )
    described = column_descriptions(known)
    lines = [
        "# Derived from the catalogue; `python tests/dbt_project/test_contracts.py` writes it.",
        "anchors:",
    ]
    for column, kind in anchors:
        # In double quotes JSON's text is YAML's.
        entry = {"name": column, "data_type": kind, "description": described[column]}
        members = ", ".join(f'{name}: "{_escaped(text)}"' for name, text in entry.items())
        lines.append(f"  - &{column} {{{members}}}")
    lines.append("\nmodels:")
    listed: dict[tuple[str, ...], str] = {}
    names = [f"{grain}_by_{mart}" for grain in ("hourly", "daily") for mart in known.marts]
    for name in [*names, "minutely"]:
        columns = _columns(name, tables)
        kind = f"{name.partition('_')[0]}{'_url' if name.endswith('_url') else ''}_mart"
        words = _MINUTELY if name == "minutely" else f"{{{{ doc('{kind}') }}}}"
        lines += [
            f"  - name: {name}",
            f'    description: "{words}"',
            "    config: {contract: {enforced: true}}",
        ]
        if columns in listed:
            lines.append(f"    columns: *{listed[columns]}")
            continue
        listed[columns] = f"columns_of_{name.rpartition('_by_')[2]}"
        aliases = textwrap.fill(
            ", ".join(f"*{column} " for column in columns).replace(" ,", " ,"),
            width=98,
            initial_indent=" " * 6,
            subsequent_indent=" " * 6,
        )
        lines += [f"    columns: &{listed[columns]} [", aliases.rstrip(), "    ]"]
    return "\n".join(lines) + "\n"


def _columns(name: str, tables: dict[str, Mart]) -> tuple[str, ...]:
    if name in VIEWS:
        of_channel = tables[name.replace("account", "channel")].types
        return tuple(column for column in of_channel if column != "channel_name")
    return tuple(tables[name].types)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def test_contracts_of_marts_are_those_of_the_catalogue() -> None:
    assert CONTRACTS.read_text("utf-8") == contracts_of_marts(), f"run: python {__file__}"


def test_a_mart_that_breaks_its_contract_is_not_built(
    tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as connection:
        create_raw_records(connection)
    monkeypatch.setenv("MSGMETRICS_WAREHOUSE", str(tmp_path / "warehouse.duckdb"))
    # a catalogue with one more measure's type than the contract says
    project = yaml.safe_load((PROJECT / "dbt_project.yml").read_text("utf-8"))
    measures = project["vars"]["measures"]
    measures[0]["type"] = "hugeint"
    result = dbtRunner().invoke(
        [
            *("build", "--quiet", "--select", "+minutely", "--exclude-resource-type", "test"),
            *("unit_test", "--vars", yaml.safe_dump({"measures": measures})),
            *("--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT)),
            *("--target-path", str(tmp_path), "--log-path", str(tmp_path)),
        ]
    )
    DuckDBConnectionManager.close_all_connections()
    assert not result.success
    broken = {one.node.name: one.message for one in result.result if one.status == "error"}
    assert broken.keys() == {"minutely"}
    assert "contract" in broken["minutely"]


if __name__ == "__main__":
    CONTRACTS.write_text(contracts_of_marts(), "utf-8")
