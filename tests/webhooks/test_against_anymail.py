"""What we read of emails is what django-anymail reads, which normalises the same webhooks.

Its event types are coarser than ours in places and finer in others: what each of ours may be to it
is written down here, with the cases in which we differ on purpose.
"""

from __future__ import annotations

import json
import sys
from types import ModuleType

import pytest
from archives import request, samples
from django.conf import settings as django_settings

from orchestration.webhooks.emails import mailbox
from orchestration.webhooks.reading import moment
from orchestration.webhooks.requests import outcomes, source_of

if not django_settings.configured:
    django_settings.configure(ANYMAIL={}, USE_TZ=True)


def _client_name(name: str) -> type:
    if name.startswith("__"):
        raise AttributeError(name)
    return object


# Its module for Amazon SES imports the client that it would confirm subscriptions with; meanwhile
# there are empty ones, which nobody else sees.
with pytest.MonkeyPatch.context() as _meanwhile:
    for _name in ("boto3", "botocore", "botocore.client", "botocore.exceptions"):
        _module = ModuleType(_name)
        _module.__getattr__ = _client_name  # type: ignore[method-assign]
        _meanwhile.setitem(sys.modules, _name, _module)
    from anymail.webhooks import amazon_ses, mailgun, postmark, sendgrid

# Ours: what it may be called there.
SAME = {
    "ACCEPTED": {"queued", "sent"},
    "SENT": {"deferred"},
    "DELIVERED": {"delivered"},
    "BOUNCED": {"bounced"},
    "DROPPED": {"rejected"},
    "REJECTED": {"rejected", "failed"},
    "EXPIRED": {"bounced"},
    "OPENED": {"opened"},
    "CLICKED": {"clicked"},
    "COMPLAINED": {"complained"},
    "UNSUBSCRIBED": {"unsubscribed"},
    None: {"subscribed", "autoresponded", "unknown"},
}
# (provider, sample): what it says where we say something else, and why we do.
ON_PURPOSE = {
    ("mailgun", "suppressed after a bounce"): "bounced",  # Mailgun never tried: dropped
    ("mailgun", "suppressed after a complaint"): "bounced",  # the same
    ("amazon_ses", "suppressed"): "bounced",  # SES never tried: dropped
    ("amazon_ses", "complaint of before"): "complained",  # the same: the complaint was earlier
    ("amazon_ses", "delay"): "unknown",  # anymail leaves these two alone
    ("amazon_ses", "opted out"): "unknown",
    ("postmark", "bad address"): "rejected",  # Postmark lists it among its bounces
    ("postmark", "put there by a bounce"): "bounced",  # the bounce itself is reported, too
}


def anymail_of(provider: str, body: object) -> list:
    views = {
        "sendgrid": sendgrid.SendGridTrackingWebhookView,
        "mailgun": mailgun.MailgunTrackingWebhookView,
        "amazon_ses": amazon_ses.AmazonSESTrackingWebhookView,
        "postmark": postmark.PostmarkTrackingWebhookView,
    }
    view = object.__new__(views[provider])  # its settings are of requests that it would verify
    match provider:
        case "sendgrid":
            return [view.esp_to_anymail_event(event) for event in body]
        case "amazon_ses":
            if "Type" in body and body["Type"] != "Notification":
                return []
            told = json.loads(body["Message"]) if "Message" in body else body
            return view.esp_to_anymail_events(told, body)
        case "mailgun":
            return [view.esp_to_anymail_event(body)]
    return [view.esp_to_anymail_event(body)]


def _is_compared(provider: str, sample: dict) -> bool:
    if sample["kind"] in ("inbound message", "legacy webhook", "SNS subscription"):
        return False
    if sample["kind"] in ("account change", "stored message", "list or account event"):
        return False
    return "Type" in sample["body"] or provider != "amazon_ses"


COMPARED = [
    (provider, sample)
    for provider in ("sendgrid", "mailgun", "amazon_ses", "postmark")
    for sample in samples(provider)
    if _is_compared(provider, sample)
]


@pytest.mark.parametrize(
    ("provider", "sample"), COMPARED, ids=[f"{p}: {s['about']}" for p, s in COMPARED]
)
def test_events_recipients_times_and_links_are_those_of_anymail(
    provider: str, sample: dict
) -> None:
    body = sample["body"]
    (outcome,) = outcomes(
        request(body).strip(), source_of(f"webhooks/{provider}/account=a/x.jsonl")
    )
    ours = outcome.reading.events
    theirs = anymail_of(provider, body)
    assert theirs
    if (provider, sample["about"]) in ON_PURPOSE:
        assert {event.event_type for event in theirs} == {ON_PURPOSE[provider, sample["about"]]}
        types = {event.event_type for event in ours} or {None}
        assert not any(event.event_type in SAME[type_] for event in theirs for type_ in types)
        return
    if not ours:
        assert {event.event_type for event in theirs} <= SAME[None]
        return
    for event in ours:
        own_id, _, recipient = event.message_id.partition(":message:")[2].rpartition(":")
        (their,) = (one for one in theirs if mailbox(own_id, one.recipient) == recipient)
        assert their.event_type in SAME[event.event_type]
        assert (their.click_url or None) == event.url
        if provider != "amazon_ses":  # there it is the time of SNS's notification
            assert moment(their.timestamp.isoformat(), "") == event.occurred_at
