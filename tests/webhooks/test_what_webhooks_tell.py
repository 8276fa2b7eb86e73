"""Messages and events made from webhooks, against a plain-Python reading of the same archives."""

from __future__ import annotations

import json
from datetime import datetime
from random import Random

import pytest
from archives import request, samples, spread, told, write
from compiled import compiled_project

from orchestration.webhooks.providers import PROVIDERS
from orchestration.webhooks.requests import outcomes, source_of

TWILIO = {"MessageSid": "SM1", "From": "+15017122661", "To": "+15558675310"}


SENDGRID = {"email": "a@b.c", "sg_message_id": "m"}


def lines_of_all_samples(received_at: str = "2026-05-05T10:00:00Z") -> list[tuple[str, str]]:
    return [
        (f"{provider}/account={account}", request(sample["body"], received_at))
        for provider in PROVIDERS
        for account in ("acme", "zeta")
        for sample in samples(provider)
    ]


def staged(archive) -> tuple[dict, dict]:
    messages = {row.pop("message_id"): row for row in archive.rows("from staging.stg_messages")}
    events = {row.pop("event_id"): row for row in archive.rows("from staging.stg_events")}
    return messages, events


@pytest.mark.parametrize("seed", [1])
def test_what_is_staged_is_the_plain_reading_however_the_requests_come(archive, seed: int) -> None:
    random = Random(seed)
    once = lines_of_all_samples()
    again = lines_of_all_samples("2026-05-06T09:00:00+0200")
    spread(archive.landing, once + random.sample(again, len(again) // 2), random, batch="a")
    archive.load()
    spread(archive.landing, random.sample(once + again, len(once) // 2), random, batch="b")
    archive.stage()
    messages, events = staged(archive)
    expected_messages, expected_events = told(once)
    assert messages.keys() == expected_messages.keys()
    for key, expected in expected_messages.items():
        found = {name: messages[key][name] for name in expected}
        assert found == expected, key
    assert events.keys() == expected_events.keys()
    for key, expected in expected_events.items():
        assert events[key]["message_id"] == expected["message_id"]
        assert events[key]["event_type"] == expected["event_type"]
        assert events[key]["occurred_at"].isoformat()[:19] == expected["occurred_at"][:19]


def test_a_retry_storm_counts_once_at_its_first_delivery(new_archive) -> None:
    statuses = [{**TWILIO, "MessageStatus": status} for status in ("queued", "sent", "delivered")]
    clicks = [s["body"] for s in samples("infobip") if "Click reports" in s["about"]]
    calm, storm = new_archive(), new_archive()
    for provider, bodies in (("twilio", statuses), ("infobip", clicks)):
        folder = f"{provider}/account=acme"
        write(calm.landing, f"{folder}/x.jsonl", [request(body) for body in bodies])
        retries = [
            request(body, f"2026-05-{5 + (10 + retry // 2) // 24:02}T"
                          f"{(10 + retry // 2) % 24:02}:{30 * (retry % 2):02}:00Z")
            for body in bodies
            for retry in range(46)
        ]  # fmt: skip
        Random(1).shuffle(retries)
        for number in range(4):
            write(storm.landing, f"{folder}/{number}.jsonl", retries[number::4])
            storm.load()
    calm.build()
    storm.build()
    assert storm.marts() == calm.marts()
    (delivered,) = storm.rows("from staging.stg_events where event_type = 'DELIVERED'")
    assert delivered["occurred_at"] == datetime(2026, 5, 5, 10)
    assert [row["clicks"] for row in storm.rows("from marts.messages where clicks > 0")] == [1]


CANONICAL = {
    "message_id": "twilio:message:SM1",
    "account_key": "canonical",
    "direction": "OUTBOUND",
    "channel_code": "MMS",
    "sent_at": "2020-01-01T00:00:00Z",
    "sender": "A",
    "recipient": "B",
}


@pytest.mark.parametrize("canonical_first", [True, False])
def test_a_canonical_record_wins_whichever_comes_first(archive, canonical_first: bool) -> None:
    event = {
        "event_id": "twilio:delivered:SM1",
        "message_id": "twilio:message:SM1",
        "event_type": "EXPIRED",
        "occurred_at": "2020-01-01T00:00:01Z",
    }

    def canonical() -> None:
        for stream, record in (("messages", CANONICAL), ("events", event)):
            (archive.landing / stream).mkdir()
            (archive.landing / stream / "x.jsonl").write_text(json.dumps(record))

    def webhooks() -> None:
        body = {**TWILIO, "MessageStatus": "delivered"}
        write(archive.landing, "twilio/account=acme/x.jsonl", [request(body)])

    first, second = (canonical, webhooks) if canonical_first else (webhooks, canonical)
    first()
    archive.build()
    second()
    archive.build()
    (message,) = archive.rows("from staging.stg_messages")
    assert (message["account_key"], message["channel_code"]) == ("canonical", "MMS")
    assert message["sent_at"] == datetime(2020, 1, 1)
    (happened,) = archive.rows("from staging.stg_events")
    assert happened["event_type"] == "EXPIRED"
    (outcome,) = archive.rows("from marts.messages")
    assert outcome["status_group"] == "EXPIRED"


def test_parts_of_a_message_are_put_together(archive) -> None:
    bodies = [sample["body"] for sample in samples("infobip") if "rcs" in sample["about"].lower()]
    write(archive.landing, "infobip/account=acme/x.jsonl", map(request, bodies))
    archive.stage()
    (message,) = archive.rows(
        "from staging.stg_messages where message_id = 'infobip:message:msg-abc123'"
    )
    assert message["sent_at"] == datetime(2026, 3, 3, 13, 22, 30)
    assert message["channel_code"] == "RCS"
    assert message["network_id"] == 219010
    assert message["interaction_id"] == "conv-xyz789"


def test_one_event_id_on_an_opening_and_a_click_is_two_events(archive) -> None:
    bodies = [s["body"] for s in samples("infobip") if "email-tracking" in s["about"]]
    assert len({body["eventId"] for body in bodies}) == 1 < len(bodies)
    write(archive.landing, "infobip/account=acme/x.jsonl", map(request, bodies))
    archive.stage()
    types = {row["event_type"] for row in archive.rows("from staging.stg_events")}
    assert types == {"OPENED", "CLICKED", "UNSUBSCRIBED", "COMPLAINED", "BOUNCED"}


def delivery(**fields: object) -> dict:
    report = {
        "messageId": "m",
        "to": "385911111111",
        "sentAt": "2026-05-05T09:59:00.000+0000",
        "doneAt": "2026-05-05T10:00:00.000+0000",
        "status": {"groupName": "DELIVERED", "name": "DELIVERED_TO_HANDSET"},
        "error": {"name": "NO_ERROR"},
        "price": {"pricePerMessage": 0.01, "currency": "EUR"},
        "messageCount": 2,
    }
    return {"results": [{**report, **fields}]}


@pytest.mark.parametrize(
    ("done_at", "occurred_at"),
    [
        ("2026-05-05T12:00:00.000+0100", "11:00:00"),
        ("2026-05-05T12:00:00.000-0300", "15:00:00"),
        ("2026-05-05T12:00:00.000+02:00", "10:00:00"),
        ("2026-05-05 12:00:00+02", "10:00:00"),
        ("2026-05-05T12:00:00.1234567Z", "12:00:00.123456"),
        (1777975200000, "10:00:00"),
        (1777975200, "10:00:00"),
        ("1777975200.5", "10:00:00.500000"),
        (None, "20:00:00"),
    ],
)
def test_times_of_every_spelling_are_kept_in_utc(archive, done_at, occurred_at: str) -> None:
    line = request(delivery(doneAt=done_at), "2026-05-05T22:00:00+02:00")
    write(archive.landing, "infobip/account=a/x.jsonl", [line])
    archive.load()
    (event,) = archive.rows("from raw.events")
    assert event["occurred_at"].isoformat() == f"2026-05-05T{occurred_at}"


@pytest.mark.parametrize("time", ["2026-05-05T12:00:00", "yesterday", [], True, -5, 1e300])
def test_a_time_that_is_none_is_refused_and_spoils_no_other(archive, time: object) -> None:
    body = {"results": delivery(doneAt=time)["results"] + delivery(messageId="n")["results"]}
    write(archive.landing, "infobip/account=a/x.jsonl", [request(body)])
    report = archive.load().streams["webhooks"]
    assert (report.records, report.loaded, report.quarantined) == (2, 1, 1)
    (entry,) = archive.rows("from raw.quarantine")
    assert entry["reason"].startswith("doneAt is ")
    assert "385911111111" not in entry["reason"] and "385911111111" in entry["raw_text"]


PRICES = [
    ({"pricePerMessage": 0.005, "currency": "EUR"}, "EUR", "1"),
    ({"pricePerMessage": 0, "currency": "UNKNOWN"}, "USD", "0"),
    ({"pricePerMessage": "0.1", "currency": "hrk"}, "HRK", "20"),
    ({"pricePerMessage": -0.0075, "currency": "USD"}, "USD", "1.5"),
    ({"pricePerMessage": 1e-9, "currency": "EUR"}, "EUR", "0"),
    ({"pricePerMessage": 1e300, "currency": "EUR"}, "USD", "0"),
    ({"pricePerMessage": True, "currency": "EUR"}, "USD", "0"),
    ({"pricePerMessage": "4999999999.999999999", "currency": "EUR"}, "USD", "0"),
    ({"pricePerMessage": "4999999999.99999999", "currency": "EUR"}, "EUR", "999999999999.999998"),
    (None, "USD", "0"),
    ([], "USD", "0"),
]


def test_a_price_is_cents_where_its_currency_is_known(archive) -> None:
    lines = [request(delivery(messageId=f"m{n}", price=p)) for n, (p, _, _) in enumerate(PRICES)]
    write(archive.landing, "infobip/account=a/x.jsonl", lines)
    archive.stage()
    messages, _ = staged(archive)
    for number, (price, currency, cents) in enumerate(PRICES):
        message = messages[f"infobip:message:m{number}"]
        found = (message["currency"], f"{message['cost_cents'].normalize():f}")
        assert found == (currency, cents), price


def read(provider: str, body: object) -> list:
    line = request(body).strip()
    return list(outcomes(line, source_of(f"webhooks/{provider}/account=a/x.jsonl")))


def test_the_sender_that_a_delivery_report_names_is_the_messages() -> None:
    (outcome,) = read("infobip", delivery(**{"from": "ACME"}))
    (message,) = outcome.reading.messages
    assert (message.sender, message.recipient) == ("ACME", "385911111111")


def test_a_seen_report_that_says_from_names_no_side() -> None:
    seen = {"messageId": "m", "from": "1", "to": "2", "seenAt": "2026-05-05T10:00:00Z"}
    (outcome,) = read("infobip", {"results": [seen]})
    (message,) = outcome.reading.messages
    assert (message.sender, message.recipient) == (None, None)


def test_half_a_character_spoils_neither_its_result_nor_the_others() -> None:
    inbound = {"from": "1", "to": "2", "receivedAt": "2026-05-05T10:00:00Z"}
    results = [{**inbound, "messageId": "a", "text": "cut \ud83d"}, {**inbound, "messageId": "b"}]
    found = [outcome.reading.messages[0].message_id for outcome in read("infobip", results)]
    assert found == ["infobip:message:a", "infobip:message:b"]


def test_ids_that_are_numbers_too_long_to_be_read_whole_are_not_mixed_up() -> None:
    report = delivery()["results"][0]
    ids = [817790313235066447, 817790313235066447123456, 817790313235066447123457]
    known, *unknown = read("infobip", {"results": [{**report, "messageId": id_} for id_ in ids]})
    assert known.reading.messages[0].message_id == "infobip:message:817790313235066447"
    for outcome in unknown:
        assert outcome.reason == (
            "messageId is a number with too many digits: have it sent as a text"
        )


def test_a_list_of_bodies_is_the_results_of_all_of_them() -> None:
    bodies = [delivery(messageId="a"), delivery(messageId="b")["results"][0]]
    found = [outcome.reading.messages[0].message_id for outcome in read("infobip", bodies)]
    assert found == ["infobip:message:a", "infobip:message:b"]


def test_a_notification_that_an_archive_has_unpacked_is_read_as_it_came() -> None:
    (sample,) = [s for s in samples("amazon_ses") if s["about"] == "delivery"]
    unpacked = {**sample["body"], "Message": json.loads(sample["body"]["Message"])}
    assert read("amazon_ses", unpacked)[0].reading == read("amazon_ses", sample["body"])[0].reading


def test_a_streamed_event_tells_segments_and_no_network_of_the_senders() -> None:
    (sample,) = [s for s in samples("twilio") if s["about"] == "delivered in segments"]
    (message,) = read("twilio", sample["body"])[0].reading.messages
    assert (message.segments, message.network_id) == ("3", None)


def test_a_click_is_the_same_event_as_a_callback_and_as_a_stream_tells_it() -> None:
    told = {"to": "+1", "from": "+2", "link": "https://x", "click_time": "2026-05-05T09:00:00Z"}
    posted = {**told, "event_type": "click", "sms_sid": "SM1"}
    streamed = {
        "type": "com.twilio.daptbt.link-shortening.link-clicked",
        "data": {**told, "message_sid": "SM1"},
    }
    callback, stream = read("twilio", [posted, streamed])
    assert callback.reading.events == stream.reading.events
    assert callback.reading.events[0].url == "https://x"


def test_fields_may_be_missing_and_new_ones_come(archive) -> None:
    bare = {"results": [{"messageId": "m", "status": {"groupName": "DELIVERED"}}]}
    new = delivery(messageId="n", brandNew={"deep": [1]}, status={"groupName": "DELIVERED", "x": 1})
    write(archive.landing, "infobip/account=a/x.jsonl", [request(bare), request(new)])
    archive.build()
    assert [row["status"] for row in archive.rows("from marts.messages")] == [
        "DELIVERED_TO_HANDSET"
    ] * 2


@pytest.mark.parametrize(
    ("provider", "body", "loaded"),
    [
        ("infobip", delivery(status={"groupName": "NEW", "name": "X"}), False),
        ("infobip", delivery(status={"groupName": "DELIVERED", "name": "DELIVERED_NEW"}), True),
        ("infobip", delivery(error={"name": "EC_NEW"}), True),
        ("infobip", delivery(channel="NEW_CHANNEL"), False),
        ("twilio", {**TWILIO, "MessageStatus": "teleported"}, False),
        ("twilio", {**TWILIO, "MessageStatus": "undelivered", "ErrorCode": "39999"}, True),
        ("twilio", {**TWILIO, "From": "pigeon:1", "MessageStatus": "sent"}, False),
        ("sendgrid", [{**SENDGRID, "event": "folded"}], False),
        ("sendgrid", [{**SENDGRID, "event": "dropped", "reason": "New"}], True),
    ],
)  # fmt: skip
def test_a_new_value_is_kept_where_it_decides_nothing_and_else_refused(
    archive, provider: str, body: object, loaded: bool
) -> None:
    write(archive.landing, f"{provider}/account=a/x.jsonl", [request(body)])
    report = archive.load().streams["webhooks"]
    assert (report.loaded, report.quarantined) == (int(loaded), int(not loaded))


def test_a_folder_names_the_channel_where_a_report_does_not(archive) -> None:
    for channel in ("VIBER", "KAKAOA"):
        line = request(delivery(messageId=channel))
        write(archive.landing, f"infobip/account=a/channel={channel}/x.jsonl", [line])
    write(archive.landing, "infobip/account=a/x.jsonl", [request(delivery(messageId="SMS"))])
    archive.build()
    for row in archive.rows("from marts.messages"):
        assert row["message_id"] == f"infobip:message:{row['channel_code']}"


def test_what_a_report_knows_stands_before_what_another_guesses(archive) -> None:
    known = {"results": [{**delivery()["results"][0], "channel": "WHATSAPP"}]}
    write(archive.landing, "infobip/account=a/x.jsonl", [request(delivery()), request(known)])
    archive.stage()
    (message,) = archive.rows("from staging.stg_messages")
    assert message["channel_code"] == "WHATSAPP"


def test_no_id_that_is_published_holds_an_address(archive) -> None:
    lines = lines_of_all_samples()
    spread(archive.landing, lines, Random(3), batch="a")
    archive.build()
    sides = archive.rows("select direction, sender, recipient from staging.stg_messages")
    end_users = {s["recipient"] if s["direction"] == "OUTBOUND" else s["sender"] for s in sides}
    companies = {s["sender"] if s["direction"] == "OUTBOUND" else s["recipient"] for s in sides}
    # Samples use a few numbers for both sides.
    addresses = {address for address in end_users - companies if address and len(address) > 9}
    assert len(addresses) > 5
    published = json.dumps(archive.marts(), default=str)
    assert not [address for address in addresses if address in published]


def test_a_block_is_a_soft_bounce_however_it_is_named() -> None:
    named = [{**SENDGRID, "event": "blocked"}, {**SENDGRID, "event": "bounce", "type": "blocked"}]
    for outcome in read("sendgrid", named):
        assert [event.bounce_type for event in outcome.reading.events] == ["SOFT"]


def test_a_count_of_parts_may_be_spelled_as_a_float() -> None:
    (outcome,) = read("infobip", delivery(messageCount=2.0))
    (message,) = outcome.reading.messages
    assert (message.segments, message.cost_cents) == ("2", "2")


def test_half_a_character_within_a_notification_of_sns_spoils_it_neither() -> None:
    (sample,) = [s for s in samples("amazon_ses") if s["about"] == "delivery"]
    cut = sample["body"]["Message"][:-1] + ', "subject": "cut \\ud83d"}'
    (outcome,) = read("amazon_ses", {**sample["body"], "Message": cut})
    assert outcome.reading == read("amazon_ses", sample["body"])[0].reading


def test_a_message_that_webhooks_of_two_accounts_tell_of_is_reported_until_corrected(
    archive,
) -> None:
    for account, done_at in (("b", "2026-05-05T10:00:00Z"), ("a", "2026-05-05T11:00:00Z")):
        line = request(delivery(messageId="1", doneAt=done_at))
        write(archive.landing, f"infobip/account={account}/x.jsonl", [line])
    archive.stage()
    check = compiled_project().data_tests["assert_a_message_stays_with_its_account"]
    (contested,) = archive.rows(check)
    assert contested["message_id"] == "infobip:message:1"
    owned = {"message_id": "infobip:message:1", "updated_at": "2026-05-06T00:00:00Z"}
    (archive.landing / "messages").mkdir()
    (archive.landing / "messages/x.jsonl").write_text(json.dumps({**CANONICAL, **owned}))
    archive.stage()
    assert not archive.rows(check)
    (message,) = archive.rows("from staging.stg_messages")
    assert message["account_key"] == "canonical"


def test_bounces_of_two_messages_that_share_an_id_are_two_events_and_a_retry_is_one() -> None:
    (sample,) = [s for s in samples("postmark") if s["about"] == "hard bounce"]
    bounces = [
        sample["body"],
        {**sample["body"], "Details": "told again"},
        {**sample["body"], "MessageID": "other"},
        {**sample["body"], "Email": "other@example.com"},
    ]
    ids = [outcome.reading.events[0].event_id for outcome in read("postmark", bounces)]
    assert ids[0] == ids[1] and len(set(ids)) == 3


ROUTED = {
    "recipient": "desk@example.org",
    "sender": "alice@example.com",
    "body-plain": "Hi",
    "Date": "Tue, 5 May 2026 09:59:00 +0000",
    "timestamp": "1777975199",
    "token": "t",
    "signature": "s",
}


def inbound_ids(provider: str, bodies: list) -> list[str]:
    return [outcome.reading.messages[0].message_id for outcome in read(provider, bodies)]


def test_posts_of_mailgun_that_differ_in_their_signature_alone_are_one_message() -> None:
    signed_anew = {"timestamp": "1777975299", "token": "u", "signature": "v"}
    first, again, other = inbound_ids(
        "mailgun", [ROUTED, {**ROUTED, **signed_anew}, {**ROUTED, "body-plain": "Hello"}]
    )
    assert first == again != other
    bare = {name: value for name, value in ROUTED.items() if name != "Date"}
    first, again, other = inbound_ids(
        "mailgun", [bare, {**bare, "token": "u", "signature": "v"}, {**bare, **signed_anew}]
    )
    assert first == again != other


def test_the_message_id_of_an_end_users_mail_program_is_in_no_id() -> None:
    header = "<alice@example.com-1@pc.example>"
    posted = {"from": "alice@example.com", "to": "desk@example.org", "envelope": "{}"}
    for provider, body in (
        ("mailgun", {**ROUTED, "Message-Id": header}),
        ("sendgrid", {**posted, "headers": f"Message-ID: {header}\nSubject: Hello\n"}),
    ):
        changed = json.loads(json.dumps(body).replace("-1@pc", "-2@pc"))
        again = {**body, "subject": "told again"}
        first, second, third = inbound_ids(provider, [body, again, changed])
        assert first == second != third
        assert "alice" not in first and "pc.example" not in first
