"""SendGrid: the Event Webhook, a list of events in each request.

Events name the recipient and never the sender. A message is the X-Message-Id that the API answered
with, which sg_message_id begins with, and the recipient.
"""

import re

from orchestration.webhooks.reading import (
    KNOWN,
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
    required,
    text,
)

NAME = "sendgrid"
RESULTS: str | None = None
KINDS = {
    "delivery event": Kind(
        UNDERSTOOD, "ACCEPTED, SENT, DELIVERED, BOUNCED, DROPPED or EXPIRED, and the message"
    ),
    "engagement event": Kind(
        UNDERSTOOD, "OPENED, CLICKED, COMPLAINED or UNSUBSCRIBED, and the message"
    ),
    "resubscription": Kind(SET_ASIDE, "a user's wishes, of no single message"),
    "account change": Kind(SET_ASIDE, "a warning to the account"),
}
_API_ID = re.compile(r"^(.+?)\.(?:filter|recvd)")


def read(result: Result, request: Request) -> Reading:
    """What one event of the list means."""
    name = required(result, "event")
    means = meaning(NAME, "event", name)
    if means.code:
        return Reading(means.code)
    if means.event_type == "BOUNCED":
        means = meaning(NAME, "bounce", (text(result, "type") or "bounce").lower())
    elif means.event_type == "DROPPED":
        means = _drop(result)
    own_at = moment(result.get("timestamp"), "timestamp")
    at = own_at or request.received_at
    recipient = required(result, "email")
    own_id = _message_id(result)
    message_id = identity(NAME, "message", own_id, mailbox(own_id, recipient))
    is_engagement = means.event_type in ("OPENED", "CLICKED", "COMPLAINED", "UNSUBSCRIBED")
    reading = Reading("engagement event" if is_engagement else "delivery event")
    url = required(result, "url") if means.event_type == "CLICKED" else None
    # An event without an id of its own is known by what it says.
    event_id = identity(NAME, name, text(result, "sg_event_id") or digest(dict(result)))
    reading.events.append(event(event_id, message_id, at, means, url=url))
    reading.messages.append(
        {
            "message_id": message_id,
            "account_key": request.account_key,
            "direction": "OUTBOUND",
            "channel_code": "EMAIL",
            "sent_at": at,
            "updated_at": at,
            "recipient": recipient,
            "campaign_reference_id": text(result, "marketing_campaign_id")
            or text(result, "singlesend_id"),
            "source_rank": KNOWN,
        }
    )
    return reading


def _message_id(result: Result) -> str:
    own = text(result, "sg_message_id")
    if own:
        found = _API_ID.match(own)
        return found.group(1) if found else own
    # A late bounce may come without sg_message_id. SendGrid's own Message-ID begins like it.
    header = (text(result, "smtp-id") or "").strip("<>")
    local, _, host = header.rpartition("@")
    if local and "ismtpd" in host:
        return local
    raise RefusedError("it has no sg_message_id, and no smtp-id of SendGrid's own")


def _drop(result: Result) -> Meaning:
    reason = (text(result, "reason") or "").lower()
    return meanings(NAME).get(f"drop.{reason}") or Meaning(event_type="DROPPED")
