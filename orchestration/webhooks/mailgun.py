"""Mailgun: event webhooks of the current version, and inbound mail as routes forward it.

One Message-Id stands for all recipients of a batch, so a message is the id and the recipient.
"""

from orchestration.webhooks.reading import (
    KNOWN,
    REFUSED,
    SET_ASIDE,
    UNDERSTOOD,
    Kind,
    Meaning,
    Reading,
    RefusedError,
    Request,
    Result,
    digest,
    event,
    identity,
    mailbox,
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
    "delivery event": Kind(
        UNDERSTOOD,
        "ACCEPTED, SENT, DELIVERED, BOUNCED, DROPPED, EXPIRED or REJECTED, and the message",
    ),
    "engagement event": Kind(
        UNDERSTOOD, "OPENED, CLICKED, COMPLAINED or UNSUBSCRIBED, and the message"
    ),
    "inbound message": Kind(UNDERSTOOD, "an INBOUND message"),
    "stored message": Kind(SET_ASIDE, "a copy that Mailgun keeps"),
    "list or account event": Kind(SET_ASIDE, "of no message"),
    "legacy webhook": Kind(REFUSED, "form posts of before 2018: change to current webhooks"),
}
_ENGAGEMENT = ("OPENED", "CLICKED", "COMPLAINED", "UNSUBSCRIBED")


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
    message_id = identity(NAME, "message", own_id, mailbox(own_id, recipient))
    url = required(data, "url") if means.event_type == "CLICKED" else None
    event_id = identity(NAME, name, text(data, "id") or digest(own_id, recipient, own_at, url))
    envelope = part(data, "envelope")
    return Reading(
        "engagement event" if means.event_type in _ENGAGEMENT else "delivery event",
        [
            {
                "message_id": message_id,
                "account_key": request.account_key,
                "direction": "OUTBOUND",
                "channel_code": "EMAIL",
                "sent_at": at,
                "updated_at": at,
                "sender": text(headers, "from") or text(envelope, "sender"),
                "recipient": recipient,
                "source_rank": KNOWN,
            }
        ],
        [event(event_id, message_id, at, means, url=url)],
    )


def _failure(data: Result) -> Meaning:
    """A failure is one more try, a drop because of an earlier event, or a bounce."""
    severity = required(data, "severity")
    if severity == "temporary":
        return meaning(NAME, "severity", severity)
    reason = text(data, "reason")
    return meanings(NAME).get(f"reason.{reason}") or meaning(NAME, "severity", severity)


def _inbound(result: Result, request: Request) -> Reading:
    own_at = moment(result.get("timestamp"), "timestamp")
    at = own_at or request.received_at
    sender, recipient = required(result, "sender"), required(result, "recipient")
    own_id = (text(result, "Message-Id") or digest(dict(result))).strip("<>")
    return Reading(
        "inbound message",
        [
            {
                "message_id": identity(NAME, "message", own_id, mailbox(own_id, recipient)),
                "account_key": request.account_key,
                "direction": "INBOUND",
                "channel_code": "EMAIL",
                "sent_at": at,
                "updated_at": at,
                "sender": text(result, "from") or sender,
                "recipient": recipient,
                "source_rank": KNOWN,
            }
        ],
    )
