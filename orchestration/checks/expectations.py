"""Great Expectations over small pandas frames; the only module that knows it.

A check is a frame and what is expected of it. A broken expectation is a broken check, never bad
data. What is in a frame stands in `frames.py`; which checks there are, in `published.py`.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

# So many rows that are against a rule are told.
_SHOWN = 100


@dataclass(frozen=True)
class Rule:
    """An expectation of Great Expectations by name and arguments, and which rows are against it."""

    expectation: str
    arguments: Mapping[str, Any]
    is_against_it: Callable[[pd.DataFrame], pd.Series]


@dataclass(frozen=True)
class Verdict:
    """What a check found: the sentences that do not hold, and the rows in which they do not.

    broken: why the check itself could not be made; then it says nothing about the data.
    """

    broken_rules: tuple[str, ...] = ()
    rows: tuple[dict[str, Any], ...] = ()
    broken: str | None = None

    @property
    def passed(self) -> bool:
        return not self.broken_rules and self.broken is None


def between(
    column: str, lowest: float | None = None, highest: float | None = None, only: str | None = None
) -> Rule:
    """Values lie between the two, both included; null counts as within. only: a column of booleans
    that says to which rows the rule applies."""

    def is_against_it(frame: pd.DataFrame) -> pd.Series:
        values = frame[column]
        outside = pd.Series(False, index=frame.index)
        if lowest is not None:
            outside |= values < lowest
        if highest is not None:
            outside |= values > highest
        return outside & frame[only] if only else outside

    arguments: dict[str, Any] = {"column": column, "min_value": lowest, "max_value": highest}
    if only:
        arguments |= {"row_condition": f"{only} == True", "condition_parser": "pandas"}
    return Rule("ExpectColumnValuesToBeBetween", arguments, is_against_it)


def is_true(column: str) -> Rule:
    return Rule(
        "ExpectColumnValuesToBeInSet",
        {"column": column, "value_set": [True]},
        lambda frame: ~frame[column],
    )


class Judge:
    """Judges frames, and keeps what it found for the report."""

    def __init__(self) -> None:
        # Great Expectations takes seconds to import, and tells its makers of its use unless told.
        os.environ["GX_ANALYTICS_ENABLED"] = "false"
        import great_expectations as gx

        self._gx = gx
        self._context = gx.get_context(mode="ephemeral")
        self._context.variables.progress_bars = {"globally": False}
        self._source = self._context.data_sources.add_pandas("restated")

    def judge(self, name: str, frame: pd.DataFrame, rules: Mapping[str, Rule]) -> Verdict:
        """Whether the rules, by the sentences that they are, hold of the frame."""
        gx = self._gx
        suite = self._context.suites.add(gx.ExpectationSuite(name=name))
        for sentence, rule in rules.items():
            kind = getattr(gx.expectations, rule.expectation)
            suite.add_expectation(kind(**rule.arguments, meta={"rule": sentence}, notes=sentence))
        batches = self._source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all")
        validation = self._context.validation_definitions.add(
            gx.ValidationDefinition(name=name, data=batches, suite=suite)
        )
        result = validation.run(batch_parameters={"dataframe": frame})
        broken = []
        failing = pd.Series(False, index=frame.index)
        for one in result.results:
            sentence = one.expectation_config.meta["rule"]
            if _raised(one.exception_info):
                return Verdict(broken=f"the rule that {sentence} could not be evaluated")
            if not one.success:
                broken.append(sentence)
                failing |= rules[sentence].is_against_it(frame)
        return Verdict(tuple(broken), tuple(frame[failing].head(_SHOWN).to_dict("records")))

    def write_report(self, folder: Path) -> Path:
        """Writes all that was found as HTML pages; returns the first of them."""
        folder.mkdir(parents=True, exist_ok=True)
        self._context.add_data_docs_site(
            site_name="checks",
            site_config={
                "class_name": "SiteBuilder",
                "show_how_to_buttons": False,
                "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
                "store_backend": {
                    "class_name": "TupleFilesystemStoreBackend",
                    "base_directory": str(folder),
                },
            },
        )
        self._context.build_data_docs(site_names=["checks"])
        return folder / "index.html"


def _raised(exception_info: Mapping[str, Any] | None) -> bool:
    """Whether an expectation failed to be evaluated; the flag stands at one of two depths."""
    if not exception_info:
        return False
    nested = [info for info in exception_info.values() if isinstance(info, Mapping)]
    return any(info.get("raised_exception") for info in [exception_info, *nested])
