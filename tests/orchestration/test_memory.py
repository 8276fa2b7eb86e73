"""How much memory the warehouse may take."""

from pathlib import Path

import pytest

from msgmetrics.settings import Settings
from orchestration.dbt import dbt_environment
from orchestration.warehouse import ENOUGH_MEBIBYTES, warehouse


def test_no_more_is_taken_than_the_system_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # DuckDB heeds limits of containers and of this scheduler alike, and takes four fifths
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "500M")
    settings = Settings(home=tmp_path)
    with warehouse(settings) as connection:
        (limit,) = connection.execute(
            "select parse_formatted_bytes(current_setting('memory_limit')) // 1048576"
        ).fetchone()
    assert 300 < limit <= 400 < ENOUGH_MEBIBYTES
    environment = dbt_environment(settings)
    for name in ("MSGMETRICS_BATCH_MEMORY", "MSGMETRICS_WAREHOUSE_MEMORY"):
        assert 300 < int(environment[name].removesuffix("MiB")) <= 400
