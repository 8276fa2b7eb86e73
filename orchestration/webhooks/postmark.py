"""Postmark: delivery, bounce, spam complaint, open, click, subscription change, and inbound.

One MessageID may stand for several recipients, so a message is the id and the recipient.
"""

from orchestration.webhooks.emails import ENGAGEMENT_KIND, came_in, email, happened, mailbox
from orchestration.webhooks.reading import (
    Kind,
    Reading,
    Request,
    Result,
    digest,
    identity,
    link,
    meaning,
    meanings,
    moment,
    required,
    text,
)

NAME = "postmark"
RESULTS: str | None = None
KINDS = {
    "delivery event": Kind.understood(
        "DELIVERED, SENT, BOUNCED, DROPPED or REJECTED, and the message"
    ),
    **ENGAGEMENT_KIND,
    "inbound message": Kind.understood("an INBOUND message"),
    "automatic answer": Kind.set_aside("an answer of a mail system, which says nothing new"),
    "subscription preferences": Kind.set_aside(
        "an address that is taken off the suppression list, or put there by a bounce"
    ),
}
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
    url = link(means, result, "OriginalLink")
    # Bounces have an id, which alone does not tell one message from the next; all others are known
    # by what they say.
    own = text(result, "ID")
    told = (own, mailbox(own_id, recipient)) if own else (digest(own_id, recipient, own_at, url),)
    event_id = identity(NAME, name.lower(), *told)
    of_email = email(NAME, own_id, recipient, request, at, sender=text(result, "From"))
    return happened(of_email, event_id, at, means, url)


def _inbound(result: Result, request: Request) -> Reading:
    own_id, sender = required(result, "MessageID"), required(result, "From")
    recipient = required(result, "OriginalRecipient", "To")
    at = request.received_at
    return came_in(NAME, own_id, recipient, request, at, sender)
