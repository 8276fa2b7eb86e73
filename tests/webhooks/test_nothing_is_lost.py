"""Results in = loaded + set aside + quarantined, whatever is posted; and no error ever shows."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from datetime import UTC, datetime, timedelta

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from archives import NOW, request, samples, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestration.loading.requeue import Requeue
from orchestration.loading.webhooks import count_kinds
from orchestration.webhooks.providers import PROVIDERS
from orchestration.webhooks.reading import RefusedError, Request
from orchestration.webhooks.requests import outcomes, source_of

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(["2026-05-05T10:00:00+0100", "\0", "١٢", "9" * 400, "€", "a@b.c", -1, 1e308])
)
documents = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)


def _paths(value: object, path: tuple = ()) -> list[tuple]:
    found = [path] if path else []
    members: object = ()
    if isinstance(value, dict):
        members = value.items()
    elif isinstance(value, list):
        members = enumerate(value)
    for key, inner in members:
        found += _paths(inner, (*path, key))
    return found


@st.composite
def spoiled(draw: st.DrawFn, provider: str) -> object:
    """A sample of which some values are others, or gone."""
    body = json.loads(json.dumps(draw(st.sampled_from(samples(provider)))["body"]))
    for _ in range(draw(st.integers(0, 3))):
        paths = _paths(body)
        if not paths:
            break
        *way, last = draw(st.sampled_from(paths))
        holder = body
        for key in way:
            holder = holder[key]
        if isinstance(holder, dict) and draw(st.booleans()):
            del holder[last]
        else:
            holder[last] = draw(documents)
    return body


def bodies(provider: str) -> st.SearchStrategy:
    return spoiled(provider) | documents | st.lists(spoiled(provider), max_size=3)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_module_raises_nothing_but_refusals(provider: str) -> None:
    module = PROVIDERS[provider]
    posted = Request("acme", "2026-05-05T10:00:00Z")

    @settings(max_examples=150, derandomize=True, deadline=None)
    @given(spoiled(provider))
    def read(posted_body: object) -> None:
        body = orjson.loads(json.dumps(posted_body))
        results = body if isinstance(body, list) else [body]
        if isinstance(body, dict) and isinstance(body.get(module.RESULTS), list):
            results = body[module.RESULTS]
        for result in results:
            if isinstance(result, dict):
                try:
                    module.read(result, posted)
                except RefusedError as refusal:
                    assert str(refusal)

    read()


@pytest.mark.parametrize("provider", PROVIDERS)
def test_in_is_loaded_and_set_aside_and_quarantined(new_archive, provider: str) -> None:
    archive = new_archive()
    name = f"{provider}/account=acme/x.jsonl"
    seen = Counter()

    @settings(
        max_examples=15,
        derandomize=True,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(st.lists(bodies(provider), min_size=1, max_size=6), st.booleans())
    def load(some: list, is_broken: bool) -> None:
        lines = [request(body) for body in some] + ["{\n"] * is_broken
        write(archive.landing, name, lines)
        source = source_of(f"webhooks/{name}")
        results = sum(1 for line in lines for _ in outcomes(line.strip(), source))
        report = archive.load(now=NOW + timedelta(seconds=sum(seen.values()))).streams["webhooks"]
        if not report.files:  # the very content that came before
            return
        assert not report.unreadable_files
        assert results == report.records
        assert results == report.loaded + report.set_aside + report.quarantined
        file = archive.rows("from raw.files order by file_id desc limit 1")[0]
        kept = {
            row["outcome"]: row["n"]
            for row in archive.rows(
                f"select outcome, count(*) as n from raw.webhooks "
                f"where file_id = {file['file_id']} group by all"
            )
        }
        refused = archive.rows(f"from raw.quarantine where file_id = {file['file_id']}")
        assert (kept.get("loaded", 0), kept.get("set aside", 0), len(refused)) == (
            file["loaded"],
            file["set_aside"],
            file["quarantined"],
        )
        assert all(entry["reason"] and entry["raw_text"] for entry in refused)
        seen.update(loaded=file["loaded"], refused=len(refused))

    load()
    assert seen["loaded"] > 2 and seen["refused"] > 2


STATUS = {"MessageSid": "SM1", "MessageStatus": "delivered", "From": "+1", "To": "+2"}


@pytest.mark.parametrize(
    ("folder", "line", "reason"),
    [
        ("", STATUS, "it has no received_at"),
        ("", {"body": STATUS}, "it has no received_at"),
        ("", {"received_at": "2026-05-05T10:00:00", "body": STATUS}, "without an offset"),
        ("", {"received_at": "2026-05-05T10:00:00Z", "body": None}, "its body is no object"),
        ("", {"received_at": "2026-05-05T10:00:00Z", "body": "<x/>"}, "have JSON sent"),
        ("", {"received_at": "2026-05-05T10:00:00Z", "body": "hello"}, "nor a form post"),
        ("", {"received_at": "2026-05-05T10:00:00Z", "body": [7]}, "it is no object"),
        ("", {"received_at": "1999-05-05T10:00:00Z", "body": STATUS}, "lies before the year 2000"),
        ("dt=2026-05-05/", 7, "its body is no object"),
        ("", STATUS, "it has no received_at, and its file is in no folder dt=YYYY-MM-DD"),
        ("dt=2026-05-99/", STATUS, "received_at, and the folder of its day is no dt=YYYY-MM-DD"),
        ("dt=today/", STATUS, "received_at, and the folder of its day is no dt=YYYY-MM-DD"),
        ("dt=2026-05-05/hr=24/", STATUS, "the folder of its hour is none from hr=00 to hr=23"),
        ("dt=2026-05-05/hr=noon/", STATUS, "the folder of its hour is none from hr=00 to hr=23"),
    ],
)
def test_a_request_that_no_rule_understands_is_quarantined_with_the_reason(
    archive, folder: str, line: object, reason: str
) -> None:
    write(archive.landing, f"twilio/account=a/{folder}x.jsonl", [json.dumps(line)])
    archive.load()
    (entry,) = archive.rows("from raw.quarantine")
    assert reason in entry["reason"]
    kept = json.loads(entry["raw_text"])
    posted = [one.get("body", one) if isinstance(one, dict) else one for one in (kept, line)]
    assert posted[0] in (posted[1], [posted[1]])


@pytest.mark.parametrize("folder", ["dt=2026-05-05/hr=07", "hour=7/date=2026-05-05"])
def test_a_bare_body_is_received_when_its_folder_says(archive, folder: str) -> None:
    write(archive.landing, f"twilio/account=a%2Fb/{folder}/x.jsonl", [json.dumps(STATUS)])
    archive.load()
    (message,) = archive.rows("from raw.messages")
    assert message["sent_at"] == datetime(2026, 5, 5, 7)
    assert message["account_key"] == "a/b"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("twilio/x.jsonl", "lies in no folder account="),
        ("pigeon/account=a/x.jsonl", "the providers that are read are infobip, twilio"),
        ("x.jsonl", "lies in webhooks/"),
        ("twilio/account=a/channel=SMOKE/x.jsonl", "names no channel code"),
    ],
)
def test_a_file_that_lies_astray_is_quarantined_whole(archive, name: str, reason: str) -> None:
    write(archive.landing, name, [request(STATUS)])
    report = archive.load().streams["webhooks"]
    assert report.unreadable_files == 1
    (entry,) = archive.rows("from raw.quarantine")
    assert reason in entry["reason"]
    write(archive.landing, "twilio/account=a/found.jsonl", [request(STATUS)])
    archive.load()
    assert not archive.rows("from raw.quarantine where closed_at is null")


def test_a_file_beside_the_folders_is_named_in_a_remark(archive) -> None:
    write(archive.landing, "twilio/account=a/x.jsonl", [request(STATUS)])
    (archive.landing / "loose.jsonl").write_text("{}", "utf-8")
    (archive.landing / "notes.txt").write_text("no data", "utf-8")
    assert archive.load().remarks == [
        "The landing zone has files beside its folders (1, as loose.jsonl), which are not read: "
        "move each into messages, events, accounts, webhooks."
    ]


def test_a_folder_whose_name_is_nearly_right_is_named_in_a_remark(archive) -> None:
    write(archive.landing, "twilio/account=a/x.jsonl", [request(STATUS)])
    (archive.landing / "webhook" / "twilio").mkdir(parents=True)
    report = archive.load()
    assert report.remarks == [
        "The landing zone has a folder webhook, from which nothing is read: if it is meant to be "
        "webhooks, call it so."
    ]
    assert report.streams["webhooks"].loaded == 1


def test_a_file_that_grows_while_it_is_read_is_loaded_whole_by_the_next_run(archive) -> None:
    from orchestration.loading import webhooks

    growing = "twilio/account=a/growing.jsonl"
    write(archive.landing, growing, [request(STATUS)])
    write(archive.landing, "twilio/account=a/still.jsonl", [request({**STATUS, "MessageSid": "2"})])
    read = webhooks.lines_of

    def lines_of(connection, path, name, *rest):
        yield from read(connection, path, name, *rest)
        if name.endswith("growing.jsonl"):
            with (archive.landing / "webhooks" / growing).open("a") as file:
                file.write(request({**STATUS, "MessageStatus": "sent"}))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(webhooks, "lines_of", lines_of)
        report = archive.load()
    assert (report.streams["webhooks"].files, report.streams["webhooks"].loaded) == (1, 1)
    (remark,) = report.remarks
    assert f"{growing} was written to while it was read" in remark
    report = archive.load()
    lines = (archive.landing / "webhooks" / growing).read_text().splitlines()
    assert (report.streams["webhooks"].files, report.streams["webhooks"].loaded) == (1, len(lines))
    assert len(archive.rows("from raw.webhooks")) == len(lines) + 1


def test_parquet_and_compressed_lines_are_read_as_plain_ones(new_archive) -> None:
    lines = [request(sample["body"]) for p in ("twilio",) for sample in samples(p)]
    plain, packed, nested, text = (new_archive() for _ in range(4))
    write(plain.landing, "twilio/account=a/x.jsonl", lines)
    for archive in (packed, nested, text):
        (archive.landing / "webhooks/twilio/account=a").mkdir(parents=True)
    (packed.landing / "webhooks/twilio/account=a/x.jsonl.gz").write_bytes(
        gzip.compress("".join(lines).encode())
    )
    requests = [json.loads(line) for line in lines]
    at = [datetime(2026, 5, 5, 10, tzinfo=UTC)] * len(requests)
    as_text = [r["body"] if isinstance(r["body"], str) else json.dumps(r["body"]) for r in requests]
    pq.write_table(
        pa.table({"received_at": pa.array(at, pa.timestamp("us", "UTC")), "body": as_text}),
        text.landing / "webhooks/twilio/account=a/x.parquet",
    )
    # Form posts alone: DuckDB takes To and to for one field of a struct.
    objects = [r["body"] for r in requests if isinstance(r["body"], dict)]
    objects = [body for body in objects if "event_type" not in body]
    names = sorted({name for body in objects for name in body})
    structs = pa.array(
        [{name: body.get(name) for name in names} for body in objects],
        pa.struct([(name, pa.string()) for name in names]),
    )
    pq.write_table(
        pa.table({"received_at": ["2026-05-05T10:00:00Z"] * len(objects), "body": structs}),
        nested.landing / "webhooks/twilio/account=a/x.parquet",
    )
    contents = []
    for archive in (plain, packed, text, nested):
        archive.load()
        assert not archive.rows("from raw.quarantine")
        contents.append(
            Counter(
                (row["message_id"], row["sent_at"], row["sender"], row["channel_code"])
                for row in archive.rows("from raw.messages")
            )
        )
    assert contents[0] == contents[1] == contents[2]
    assert sum(contents[3].values()) > 10 and not contents[3] - contents[0]


def test_what_an_older_release_refused_is_taken_in_by_one_that_understands_it(archive) -> None:
    body = [STATUS, {**STATUS, "MessageStatus": "teleported"}, {"CallSid": "CA1"}]
    write(archive.landing, "twilio/account=a/dt=2026-05-05/x.jsonl", [json.dumps(body), "\n{"])
    report = archive.load().streams["webhooks"]
    assert (report.loaded, report.set_aside, report.quarantined) == (1, 1, 2)

    from orchestration.webhooks import reading

    known = dict(reading.meanings("twilio"))
    known["status.teleported"] = known["status.delivered"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "meanings", lambda provider: known)
        again = Requeue(archive.connection, now=NOW, as_of=NOW).every()
    assert (again.judged, again.requeued["webhooks"]) == (2, 1)
    (file,) = archive.rows("from raw.files")
    assert (file["records"], file["loaded"], file["set_aside"], file["quarantined"]) == (4, 2, 1, 1)
    assert len(archive.rows("from raw.events")) == 2
    (left,) = archive.rows("from raw.quarantine where closed_at is null")
    assert left["raw_text"] == "{"


def test_what_an_older_release_loaded_or_set_aside_stays_as_it_was_read(archive) -> None:
    from orchestration.webhooks import reading, twilio

    sent = {**STATUS, "MessageStatus": "sent"}
    write(archive.landing, "twilio/account=a/x.jsonl", [request([sent, {"CallSid": "CA1"}])])
    archive.load()
    held = [archive.rows(f"from raw.{name}") for name in ("messages", "events", "webhooks")]
    known = dict(reading.meanings("twilio"))
    known["status.sent"] = known["status.failed"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "meanings", lambda provider: known)
        patch.setattr(twilio, "meanings", lambda provider: known)
        Requeue(archive.connection, now=NOW, as_of=NOW).every()
        archive.load()
    assert held == [archive.rows(f"from raw.{name}") for name in ("messages", "events", "webhooks")]


def test_what_is_set_aside_is_counted_by_kind(archive) -> None:
    calls = [{"CallSid": "CA1"}, {"CallSid": "CA2"}, {"ConversationSid": "CH1"}, STATUS]
    write(archive.landing, "twilio/account=a/x.jsonl", [request(calls)])
    report = archive.load()
    assert report.streams["webhooks"].set_aside == 3
    assert count_kinds(archive.connection, report.batch_id) == {
        "twilio: call": 2,
        "twilio: conversation": 1,
    }


def test_a_result_too_far_ahead_is_taken_in_when_it_no_longer_is(archive) -> None:
    write(archive.landing, "twilio/account=a/x.jsonl", [request(STATUS, "2027-01-03T00:00:00Z")])
    assert archive.load().streams["webhooks"].quarantined == 1
    later = archive.load(now=NOW + timedelta(days=1, seconds=1))
    assert later.streams["webhooks"].requeued == 1
    assert len(archive.rows("from raw.messages")) == 1


@pytest.mark.parametrize("levels", [300, 1000])
def test_results_nested_deeper_than_can_be_written_are_taken_in_and_spoil_no_other(
    archive, levels: int
) -> None:
    deep = "[" * levels + "]" * levels
    results = (
        f'{json.dumps(STATUS)[:-1]},"deep":{deep}}}',
        f'{{"MessageSid":"SM2","deep":{deep}}}',
        json.dumps({**STATUS, "MessageSid": "SM3"}),
        f'{{"CallSid":"CA1","deep":{deep}}}',
    )
    line = f'{{"received_at":"2026-05-05T10:00:00Z","body":[{",".join(results)}]}}\n'
    write(archive.landing, "twilio/account=a/x.jsonl", [line])
    report = archive.load().streams["webhooks"]
    assert (report.loaded, report.set_aside, report.quarantined) == (2, 1, 1)


@pytest.mark.parametrize("number", ["1e400", "-1e400", "9" * 400, "9" * 5000])
def test_a_number_that_no_float_holds_spoils_nothing(archive, number: str) -> None:
    line = request([{**STATUS, "Odd": "ODD"}, {**STATUS, "MessageSid": "2"}])
    write(archive.landing, "twilio/account=a/x.jsonl", [line.replace('"ODD"', number)])
    assert archive.load().streams["webhooks"].loaded == 2


def test_a_list_of_results_that_is_none_spoils_no_other_body(archive) -> None:
    click = {"notificationType": "CLICKED", "messageId": "m", "url": "u", "results": None}
    body = [click, {"results": 7}, {"results": [{**click, "messageId": "n"}]}]
    write(archive.landing, "infobip/account=a/x.jsonl", [request(body)])
    report = archive.load().streams["webhooks"]
    assert (report.loaded, report.quarantined) == (2, 1)


@pytest.mark.parametrize(
    ("folder", "account"),
    [("account=a/account=b", "a"), ("account=%E9", None), ("account=%C3%A9", "é")],
)
def test_a_file_is_of_the_account_whose_folder_it_lies_in(archive, folder, account) -> None:
    write(archive.landing, f"twilio/{folder}/x.jsonl", [request(STATUS)])
    archive.load()
    keys = [row["account_key"] for row in archive.rows("from raw.messages")]
    assert keys == ([account] if account else [])
    if account is None:
        (entry,) = archive.rows("from raw.quarantine")
        assert entry["reason"].endswith("whose percent signs spell no UTF-8")


def test_a_text_as_body_needs_no_received_at_where_the_folder_says(archive) -> None:
    lines = [json.dumps({"body": body}) for body in ("MessageSid=1&MessageStatus=sent", STATUS)]
    write(archive.landing, "twilio/account=a/dt=2026-05-05/x.jsonl", "\n".join(lines))
    assert archive.load().streams["webhooks"].loaded == 2


def test_a_time_of_parquet_is_the_same_wherever_the_machine_stands(archive, monkeypatch) -> None:
    path = archive.landing / "webhooks/twilio/account=a/x.parquet"
    path.parent.mkdir(parents=True)
    at = pa.array([datetime(2026, 5, 5, 10, tzinfo=UTC)], pa.timestamp("us", "UTC"))
    pq.write_table(pa.table({"received_at": at, "body": [json.dumps(STATUS)]}), path)
    archive.connection.execute("set global timezone = 'America/New_York'")
    archive.load()
    (message,) = archive.rows("from raw.messages")
    assert message["sent_at"] == datetime(2026, 5, 5, 10)


def test_a_parquet_file_with_the_name_of_row_numbers_spoils_no_other(archive) -> None:
    write(archive.landing, "twilio/account=a/x.jsonl", [request(STATUS)])
    table = pa.table({"received_at": [1777975200], "body": ["{}"], "File_Row_Number": [1]})
    pq.write_table(table, archive.landing / "webhooks/twilio/account=a/y.parquet")
    report = archive.load().streams["webhooks"]
    assert (report.loaded, report.unreadable_files) == (1, 1)


def test_a_result_is_the_same_as_a_line_and_as_nested_columns_of_parquet(archive) -> None:
    click = {"notificationType": "CLICKED", "messageId": "m", "url": "u", "recipientInfo": {"a": 1}}
    write(archive.landing, "infobip/account=a/x.jsonl", [request(click)])
    geo = pa.struct([("city", pa.string()), ("at", pa.struct([("lat", pa.float64())]))])
    info = pa.struct([("a", pa.int64()), ("b", pa.string()), ("geo", geo)])
    columns = [(name, pa.string()) for name in ("notificationType", "messageId", "url", "odd")]
    body = {**click, "recipientInfo": {"a": 1, "geo": {"at": {}}}}
    bodies = pa.array([body], pa.struct([*columns, ("recipientInfo", info), ("none", geo)]))
    table = pa.table({"received_at": ["2026-05-05T11:00:00Z"], "body": bodies})
    pq.write_table(table, archive.landing / "webhooks/infobip/account=a/y.parquet")
    assert archive.load().streams["webhooks"].loaded == 2
    assert len({row["event_id"] for row in archive.rows("from raw.events")}) == 1


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_a_number_of_parquet_that_json_lacks_is_as_if_it_were_missing(archive, number) -> None:
    path = archive.landing / "webhooks/twilio/account=a/x.parquet"
    path.parent.mkdir(parents=True)
    bodies = pa.array([[{**STATUS, "To": "NaN Infinity", "odd": {"deep": number}}]])
    pq.write_table(pa.table({"received_at": [1777975200], "body": bodies}), path)
    assert archive.load().streams["webhooks"].loaded == 1
    (kept,) = archive.rows("from raw.webhooks")
    assert json.loads(kept["body"]) == {**STATUS, "To": "NaN Infinity", "odd": {"deep": None}}


SES_MAIL = {"messageId": "m", "destination": ["a@x.example", "b@x.example"]}
SES_LISTS = [
    ("Bounce", "bounce", "bouncedRecipients"),
    ("Complaint", "complaint", "complainedRecipients"),
    ("Delivery", "delivery", "recipients"),
    ("DeliveryDelay", "deliveryDelay", "delayedRecipients"),
]


@pytest.mark.parametrize(("event", "member", "listed"), SES_LISTS)
@pytest.mark.parametrize(
    ("recipients", "reason"),
    [
        (None, "names no recipient"),
        ([], "names no recipient"),
        ([{"emailAddress": "a@x.example"}, {"emailAddress": 7}], "has a recipient without an"),
        ([{}], "has a recipient without an address"),
        (["a@x.example", None], "has a recipient without an address"),
    ],
)
def test_an_event_of_ses_that_does_not_say_whose_it_is_is_of_nobody(
    archive, event: str, member: str, listed: str, recipients: object, reason: str
) -> None:
    told = {"bounceType": "Permanent", listed: recipients}
    body = {"eventType": event, "mail": SES_MAIL, member: told}
    sent = {"eventType": "Send", "mail": SES_MAIL}
    write(archive.landing, "amazon_ses/account=a/x.jsonl", [request(body), request(sent)])
    report = archive.load().streams["webhooks"]
    assert (report.records, report.loaded, report.quarantined) == (2, 1, 1)
    assert {row["event_type"] for row in archive.rows("from raw.events")} == {"ACCEPTED"}
    (entry,) = archive.rows("from raw.quarantine")
    assert entry["reason"].startswith(f"{member}.{listed} {reason}")


@pytest.mark.parametrize("recipients", [[7], ["a@x.example", {}]])
def test_recipients_of_ses_that_are_no_addresses_do_not_vanish(archive, recipients: list) -> None:
    mail = {**SES_MAIL, "destination": recipients}
    came = {"notificationType": "Received", "mail": SES_MAIL, "receipt": {"recipients": recipients}}
    write(
        archive.landing,
        "amazon_ses/account=a/x.jsonl",
        [request({"eventType": "Send", "mail": mail}), request(came)],
    )
    assert archive.load().streams["webhooks"].quarantined == 2
    reasons = {row["reason"].partition(" ")[0] for row in archive.rows("from raw.quarantine")}
    assert reasons == {"mail.destination", "receipt.recipients"}
