"""What webhooks of all providers of email have in common: ids of messages, two sorts of events.

A provider's id of an email stands for all its recipients (Infobip's does not), so a message is the
id and the recipient.
"""

import re
from typing import Any

from orchestration.webhooks.reading import (
    Kind,
    Meaning,
    Message,
    Reading,
    Request,
    digest,
    event,
    identity,
    message,
)

_ENGAGEMENT = ("OPENED", "CLICKED", "COMPLAINED", "UNSUBSCRIBED")
ENGAGEMENT_KIND = {
    "engagement event": Kind.understood(
        "OPENED, CLICKED, COMPLAINED or UNSUBSCRIBED, and the message"
    )
}
_ADDRESS = re.compile(r"<([^<>]*)>\s*$")


def mailbox(own_id: str, address: str) -> str:
    """What tells the recipients of one email apart: a hash, since ids are published.

    Of the message's id, too, so that nobody sees from ids which messages went to one address.
    """
    inner = _ADDRESS.search(address)
    bare = inner.group(1) if inner else address
    return digest(own_id, bare.strip().lower())


def header_id(message_id: str) -> str:
    """The id of an email by the header Message-ID of its sender's mail program: a hash, since ids
    are published, and mail programs may write the end user's address into that header."""
    return digest(message_id.strip().strip("<>"))


def email(
    provider: str,
    own_id: str,
    recipient: str,
    request: Request,
    at: str,
    direction: str = "OUTBOUND",
    **fields: Any,
) -> Message:
    """What a result of that time tells of the email of this id to this recipient."""
    message_id = identity(provider, "message", own_id, mailbox(own_id, recipient))
    return message(request, message_id, direction, "EMAIL", at, recipient=recipient, **fields)


def happened(
    of_email: Message, event_id: str, at: str, means: Meaning, url: str | None = None
) -> Reading:
    """An event of an email, and the email."""
    kind = "engagement event" if means.event_type in _ENGAGEMENT else "delivery event"
    return Reading(kind, [of_email], [event(event_id, of_email.message_id, at, means, url=url)])


def came_in(
    provider: str, own_id: str, recipient: str, request: Request, at: str, sender: str
) -> Reading:
    """An email that somebody sent to the account."""
    of_email = email(provider, own_id, recipient, request, at, "INBOUND", sender=sender)
    return Reading("inbound message", [of_email])
