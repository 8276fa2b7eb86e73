"""Postmark: delivery, bounce, spam complaint, open, click, subscription change, and inbound.

One MessageID may stand for several recipients, so a message is the id and the recipient.
"""

from orchestration.webhooks.reading import (
    KNOWN,
    SET_ASIDE,
    UNDERSTOOD,
    Kind,
    Reading,
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

NAME = "postmark"
RESULTS: str | None = None
KINDS = {
    "delivery event": Kind(
        UNDERSTOOD, "DELIVERED, SENT, BOUNCED, DROPPED or REJECTED, and the message"
    ),
    "engagement event": Kind(
        UNDERSTOOD, "OPENED, CLICKED, COMPLAINED or UNSUBSCRIBED, and the message"
    ),
    "inbound message": Kind(UNDERSTOOD, "an INBOUND message"),
    "automatic answer": Kind(SET_ASIDE, "an answer of a mail system, which says nothing new"),
    "subscription preferences": Kind(
        SET_ASIDE, "an address that is taken off the suppression list, or put there by a bounce"
    ),
}
_ENGAGEMENT = ("OPENED", "CLICKED", "COMPLAINED", "UNSUBSCRIBED")
_TIMES = ("DeliveredAt", "BouncedAt", "ReceivedAt", "ChangedAt")


def read(result: Result, request: Request) -> Reading:
    """What one webhook means."""
    name = text(result, "RecordType")
    if name in (None, "Inbound") and ("FromFull" in result or name):
        return _inbound(result, request)
    name = required(result, "RecordType")
    means = meaning(NAME, "record", name)
    if name in ("Bounce", "SpamComplaint"):
        # A type that is not listed is said by the record: a bounce is a soft one, until known.
        means = meanings(NAME).get(f"type.{text(result, 'Type')}") or means
    elif name == "SubscriptionChange":
        is_off = result.get("SuppressSending") is True
        reason = meanings(NAME).get(f"suppression.{text(result, 'SuppressionReason')}")
        if not (is_off and reason):
            return Reading("subscription preferences")
        means = reason
    if means.code:
        return Reading(means.code)
    own_at = next((at for name_ in _TIMES if (at := moment(result.get(name_), name_))), None)
    at = own_at or request.received_at
    recipient = required(result, "Recipient", "Email")
    own_id = required(result, "MessageID")
    message_id = identity(NAME, "message", own_id, mailbox(own_id, recipient))
    url = required(result, "OriginalLink") if means.event_type == "CLICKED" else None
    # Bounces have an id, all others are known by what they say.
    own = text(result, "ID") or digest(own_id, recipient, own_at, url)
    message = _message(message_id, request, "OUTBOUND", at, text(result, "From"), recipient)
    return Reading(
        "engagement event" if means.event_type in _ENGAGEMENT else "delivery event",
        [message],
        [event(identity(NAME, name.lower(), own), message_id, at, means, url=url)],
    )


def _inbound(result: Result, request: Request) -> Reading:
    own_id = required(result, "MessageID")
    recipient = required(result, "OriginalRecipient", "To")
    message_id = identity(NAME, "message", own_id, mailbox(own_id, recipient))
    sender = required(result, "From")
    message = _message(message_id, request, "INBOUND", request.received_at, sender, recipient)
    return Reading("inbound message", [message])


def _message(
    message_id: str, request: Request, direction: str, at: str, sender: str | None, recipient: str
) -> dict:
    return {
        "message_id": message_id,
        "account_key": request.account_key,
        "direction": direction,
        "channel_code": "EMAIL",
        "sent_at": at,
        "updated_at": at,
        "sender": sender,
        "recipient": recipient,
        "source_rank": KNOWN,
    }
