"""Mailgun: event webhooks of the current version, and inbound mail as routes forward it.

One Message-Id stands for all recipients of a batch, so a message is the id and the recipient.
"""

from typing import Any

from orchestration.webhooks.emails import ENGAGEMENT_KIND, came_in, email, happened, header_id
from orchestration.webhooks.reading import (
    Kind,
    Meaning,
    Reading,
    RefusedError,
    Request,
    Result,
    digest,
    identity,
    link,
    meaning,
    meanings,
    moment,
    part,
    required,
    text,
)

NAME = "mailgun"
RESULTS: str | None = None
KINDS = {
    "delivery event": Kind.understood(
        "ACCEPTED, SENT, DELIVERED, BOUNCED, DROPPED, EXPIRED or REJECTED, and the message"
    ),
    **ENGAGEMENT_KIND,
    "inbound message": Kind.understood("an INBOUND message"),
    "stored message": Kind.set_aside("a copy that Mailgun keeps"),
    "list or account event": Kind.set_aside("of no message"),
    "legacy webhook": Kind.refused("form posts of before 2018: change to current webhooks"),
}


def read(result: Result, request: Request) -> Reading:
    """What one request means."""
    data = result.get("event-data")
    if not isinstance(data, dict):
        if "event" not in result and "recipient" in result and "sender" in result:
            return _inbound(result, request)
        if "signature" in result and "token" in result:
            raise RefusedError("it is a legacy webhook: have current ones sent")
        data = result
    name = required(data, "event")
    means = meaning(NAME, "event", name)
    if means.code:
        return Reading(means.code)
    if name == "failed":
        means = _failure(data)
    own_at = moment(data.get("timestamp"), "timestamp")
    at = own_at or request.received_at
    headers = part(part(data, "message"), "headers")
    recipient = text(data, "recipient") or required(headers, "to")
    own_id = required(headers, "message-id").strip("<>")
    sender = text(headers, "from") or text(part(data, "envelope"), "sender")
    url = link(means, data, "url")
    event_id = identity(NAME, name, text(data, "id") or digest(own_id, recipient, own_at, url))
    of_email = email(NAME, own_id, recipient, request, at, sender=sender)
    return happened(of_email, event_id, at, means, url)


def _failure(data: Result) -> Meaning:
    """A failure is one more try, a drop because of an earlier event, or a bounce."""
    severity = required(data, "severity")
    if severity == "temporary":
        return meaning(NAME, "severity", severity)
    reason = text(data, "reason")
    return meanings(NAME).get(f"reason.{reason}") or meaning(NAME, "severity", severity)


def _inbound(result: Result, request: Request) -> Reading:
    at = moment(result.get("timestamp"), "timestamp") or request.received_at
    envelope_sender, recipient = required(result, "sender"), required(result, "recipient")
    sender = text(result, "from") or envelope_sender
    header = text(result, "Message-Id")
    own_id = header_id(header) if header else digest(_without_signature(result))
    return came_in(NAME, own_id, recipient, request, at, sender)


def _without_signature(result: Result) -> dict[str, Any]:
    """What was posted without what every post has anew: its signature, and the time that is signed
    if the email has one of its own."""
    anew = {"token", "signature"} | ({"timestamp"} if "Date" in result else set())
    return {name: value for name, value in result.items() if name not in anew}
