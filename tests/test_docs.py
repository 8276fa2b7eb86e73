"""The README says what the code does: its tables are derived from the code, and compared here.

`python tests/test_docs.py` writes them anew.
"""

import re
from pathlib import Path
from tempfile import TemporaryDirectory

import typer.main

from endpoint import errors
from endpoint.app import create_app
from endpoint.fixed_buckets import ROUTES
from endpoint.planning.answer import TooManyRowsError
from endpoint.planning.question import ExtendedQuestionBody, QuestionBody
from endpoint.time_limits import TookTooLongError
from msgmetrics.catalogue import catalogue
from msgmetrics.cli import app
from msgmetrics.settings import Settings
from orchestration.checks.published import CHECKS
from orchestration.loading.records import streams
from orchestration.webhooks.providers import PROVIDERS

README = Path(__file__).parents[1] / "README.md"


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def metrics_table() -> str:
    """Every metric with its formula and the channels that have it."""
    known = catalogue()
    rows = []
    for metric in known.metrics.values():
        formula = " + ".join(metric.numerator)
        if metric.is_rate:
            formula = f"({formula})" if len(metric.numerator) > 1 else formula
            formula += " / " + " + ".join(metric.denominator)
        missing = [code for code in known.channels if code not in metric.channels]
        channels = "all"
        if missing:
            fewer = len(missing) < len(metric.channels)
            channels = "all but " + ", ".join(missing) if fewer else ", ".join(metric.channels)
        rows.append([f"`{metric.name}`", f"`{formula}`", metric.description, channels])
    return _table(["metric", "is", "in words", "channels"], rows)


def dimensions_table() -> str:
    """Every dimension with its mart and filter."""
    known = catalogue()
    rows = [
        [
            f"`{dimension.name}`",
            f"`{dimension.mart}`",
            f"`{dimension.filter}`" if dimension.filter else "",
            dimension.description,
        ]
        for dimension in known.dimensions.values()
    ]
    times = [
        [f"`{dimension.name}`", "all", "`sentSince`, `sentUntil`", dimension.description]
        for dimension in known.time_dimensions.values()
    ]
    return _table(["dimension", "mart", "filter", "in words"], rows + times)


def commands_table() -> str:
    """Every command with its options."""
    group = typer.main.get_command(app)
    rows = []

    def visit(command: object, words: list[str]) -> None:
        subcommands = getattr(command, "commands", None)
        if subcommands:
            for name, subcommand in subcommands.items():
                visit(subcommand, [*words, name])
            return
        options = [
            max(p.opts, key=len) if p.param_type_name == "option" else p.name.upper()
            for p in command.params
            if p.name != "help"
        ]
        described = " ".join(f"`{option}`" for option in options)
        rows.append([f"`msgmetrics {' '.join(words)}`", command.help.split("\n")[0], described])

    visit(group, [])
    return _table(["command", "does", "options"], rows)


def settings_table() -> str:
    """Every variable with its default."""
    rows = []
    for name, field in Settings.model_fields.items():
        default = "" if field.default in (None, "") else f"`{field.default}`"
        rows.append([f"`MSGMETRICS_{name.upper()}`", default, field.description or ""])
    return _table(["variable", "default", "is"], rows)


def routes_table() -> str:
    """Every route of the OpenAPI document with what it answers and the scope that it needs."""
    with TemporaryDirectory() as home:
        paths = create_app(Settings(home=Path(home))).openapi()["paths"]
    rows = []
    for path, methods in paths.items():
        scope = ""
        if path.startswith("/v1/"):
            scope = "`metrics:read`"
        elif path.startswith("/metrics/1/"):
            scope = "`metrics:manage`"
        for method, operation in methods.items():
            rows.append([f"`{method.upper()} {path}`", operation["summary"], scope])
    return _table(["route", "answers", "scope"], sorted(rows, key=lambda row: (not row[2], row)))


def series_table() -> str:
    """Every route of the first family with what it counts and what it groups by."""
    rows = [
        [
            f"`GET {route.path}`",
            ", ".join(f"`{metric}`" for metric in route.measures),
            ", ".join(f"`{grouping}`" for grouping in route.groupings),
        ]
        for route in ROUTES
    ]
    return _table(["route", "`metric`", "`group_by`"], rows)


def members_table() -> str:
    """What a question may have at the query route alone."""
    further = ExtendedQuestionBody.model_fields.keys() - QuestionBody.model_fields.keys()
    rows = [
        [f"`{field.alias}`", field.description or ""]
        for name, field in ExtendedQuestionBody.model_fields.items()
        if name in further
    ]
    return _table(["member", "is"], rows)


def errors_table() -> str:
    """Every error that has a code of its own, but for what is wrong with the service itself."""
    known = [
        errors.invalid_input([]),
        errors.unauthorized("Bearer"),
        errors.forbidden(),
        errors.no_such_request(),
        errors.method_not_allowed(None),
        errors.granularity_not_available("day"),
        errors.window_too_large(2, 1),
        errors.too_many_rows(TooManyRowsError(2, 1)),
        errors.rate_limited(1),
        errors.not_ready(),
        errors.took_too_long(TookTooLongError(1)),
    ]
    rows = [
        [
            str(error.status),
            f"`{error.code}`",
            ", ".join(f"`{name}`" for name in error.details or ()),
        ]
        for error in known
    ]
    return _table(["status", "code", "details"], rows)


def fields_table(name: str) -> str:
    """Every field of a stream, what it takes and for which events it counts."""
    kinds = {
        "text": "text",
        "timestamp": "timestamp with offset",
        "int16": "integer",
        "int32": "integer",
        "int64": "integer",
        "decimal": "decimal, up to 6 places",
        "boolean": "true, false",
    }
    rows = []
    for field in streams()[name].fields:
        takes = ", ".join(field.codes) if field.kind == "code" else kinds[field.kind]
        required = "required" if field.required else ""
        borne = ", ".join(field.only_for)
        rows.append([f"`{field.name}`", takes, " for ".join(filter(None, [required, borne]))])
    return _table(["field", "takes", ""], rows)


def webhooks_table() -> str:
    """Every kind of payload that a provider sends, with what becomes of it."""
    rows = [
        [f"`{provider}`", name, kind.treatment, kind.read_as]
        for provider, module in PROVIDERS.items()
        for name, kind in module.KINDS.items()
    ]
    return _table(["provider", "kind of payload", "is", "read as"], rows)


def checks_table() -> str:
    """Every check of the last gate with its severity."""
    rows = [
        [f"`{check.name}`", "error" if check.blocks else "warning", check.description]
        for check in CHECKS
    ]
    return _table(["check", "severity", "holds if"], rows)


TABLES = {
    "messages": lambda: fields_table("messages"),
    "events": lambda: fields_table("events"),
    "accounts": lambda: fields_table("accounts"),
    "metrics": metrics_table,
    "dimensions": dimensions_table,
    "commands": commands_table,
    "settings": settings_table,
    "routes": routes_table,
    "series": series_table,
    "members": members_table,
    "errors": errors_table,
    "webhooks": webhooks_table,
    "checks": checks_table,
}


def _with_tables(text: str) -> str:
    for name, make in TABLES.items():
        pattern = rf"<!-- table: {name} -->\n(?:\n?\|[^\n]*\n)*"
        fresh = f"<!-- table: {name} -->\n\n{make()}\n"
        text, replaced = re.subn(pattern, lambda _, fresh=fresh: fresh, text)
        assert replaced == 1, f"the README has no place for the table of {name}"
    return text


def test_tables_in_the_readme_are_those_of_the_code() -> None:
    text = README.read_text("utf-8")
    assert _with_tables(text) == text, "run: python tests/test_docs.py"


def test_every_command_that_the_readme_names_exists() -> None:
    known = set(re.findall(r"`msgmetrics ([a-z ]+)`", commands_table()))
    for named in re.findall(
        r"`(?:\.venv/bin/)?msgmetrics ([a-z]+(?: [a-z]+)?)", README.read_text("utf-8")
    ):
        assert named in known or named.split()[0] in known, named


if __name__ == "__main__":
    README.write_text(_with_tables(README.read_text("utf-8")), "utf-8")
