"""Amazon SES: event publishing and feedback notifications, in SNS envelopes or delivered raw.

One message id stands for all recipients, so a message is the id and the recipient. An opening or a
click of a message to several does not say whose it was: it counts for the first of them.
"""

from collections.abc import Sequence
from typing import Any

from orchestration.webhooks.emails import ENGAGEMENT_KIND, email, happened, mailbox
from orchestration.webhooks.reading import (
    Kind,
    Meaning,
    Reading,
    RefusedError,
    Request,
    Result,
    digest,
    document,
    identity,
    link,
    meaning,
    meanings,
    moment,
    part,
    parts,
    required,
    text,
)

NAME = "amazon_ses"
RESULTS: str | None = None
KINDS = {
    "delivery event": Kind.understood(
        "ACCEPTED, SENT, DELIVERED, BOUNCED, DROPPED or REJECTED, and the message, of each "
        "recipient"
    ),
    **ENGAGEMENT_KIND,
    "inbound message": Kind.understood("an INBOUND message for each recipient"),
    "subscription preferences": Kind.set_aside("a contact that has not opted out"),
    "SNS subscription": Kind.set_aside("SNS asks, or tells, whether it may post"),
}
# Where an event names the recipients that it is about, and by which field.
_NAMED = {
    "Bounce": ("bounce", "bouncedRecipients"),
    "Complaint": ("complaint", "complainedRecipients"),
    "Delivery": ("delivery", "recipients"),
    "DeliveryDelay": ("deliveryDelay", "delayedRecipients"),
}
_PARTS = {"Open": "open", "Click": "click", "Subscription": "subscription", "Reject": "reject"}
_OF_ONE = ("Open", "Click", "Subscription")


def read(result: Result, request: Request) -> Reading:
    """What one request of SNS, or one event, means."""
    kind = text(result, "Type")
    if kind in ("SubscriptionConfirmation", "UnsubscribeConfirmation"):
        return Reading("SNS subscription")
    if kind == "Notification":
        told = part(result, "Message")
        if told:  # an archive that has unpacked it
            return _notified(told, request)
        message = required(result, "Message")
        if message.startswith("Successfully validated SNS topic"):
            return Reading("SNS subscription")
        return _notified(_unpacked(message), request)
    return _notified(result, request)


def _unpacked(message: str) -> Result:
    parsed = document(message)
    if not isinstance(parsed, dict):
        raise RefusedError("its Message is no JSON object")
    return parsed


def _notified(result: Result, request: Request) -> Reading:
    name = required(result, "eventType", "notificationType")
    if name == "AmazonSnsSubscriptionSucceeded":
        return Reading("SNS subscription")
    if name == "Received":
        return _received(result, request)
    means = _meaning(result, name)
    if means is None:
        return Reading("subscription preferences")
    mail, told = part(result, "mail"), _told(result, name)
    own_id = required(mail, "messageId")
    sent_at = moment(mail.get("timestamp"), "mail.timestamp") or request.received_at
    own_at = moment(told.get("timestamp"), f"{name}.timestamp")
    at = own_at or (sent_at if name in ("Send", "Reject", "Rendering Failure") else None)
    at = at or request.received_at
    url = link(means, told, "link")
    readings = []
    for recipient in _recipients(result, name):
        # SNS numbers its own notifications; the same event may come by two of them.
        event_id = identity(
            *(NAME, name.lower().replace(" ", "_"), own_id),
            *(mailbox(own_id, recipient), digest(own_at, url)),
        )
        of_email = email(
            *(NAME, own_id, recipient, request, at),
            sent_at=sent_at,
            sender=text(mail, "source"),
        )
        readings.append(happened(of_email, event_id, at, means, url))
    return Reading(
        readings[0].kind,
        [message for reading in readings for message in reading.messages],
        [event for reading in readings for event in reading.events],
    )


def _told(result: Result, name: str) -> Result:
    return part(result, _NAMED[name][0] if name in _NAMED else _PARTS.get(name, name.lower()))


def _meaning(result: Result, name: str) -> Meaning | None:
    """None for a change of subscription that is no opting out."""
    means, told = meaning(NAME, "event", name), _told(result, name)
    if name == "Bounce":
        kind, sub_kind = required(told, "bounceType"), text(told, "bounceSubType")
        return meanings(NAME).get(f"bounce.{kind}.{sub_kind}") or meaning(NAME, "bounce", kind)
    if name == "Complaint":
        return meanings(NAME).get(f"complaint.{text(told, 'complaintSubType')}") or means
    if name == "Subscription":
        wishes = part(told, "newTopicPreferences")
        topics = [topic for topic in parts(wishes, "topicSubscriptionStatus")]
        opted_out = wishes.get("unsubscribeAll") is True or any(
            isinstance(topic, dict) and topic.get("subscriptionStatus") == "OptOut"
            for topic in topics
        )
        return means if opted_out else None
    return means


def _recipients(result: Result, name: str) -> list[str]:
    """The recipients that an event is about. Raises RefusedError where it does not name them all.

    An event that is about some recipients of a mail is never taken for one about all of them.
    """
    if name in _NAMED:
        field = ".".join(_NAMED[name])
        found = parts(_told(result, name), _NAMED[name][1])
    else:
        field, found = "mail.destination", parts(part(result, "mail"), "destination")
    addresses = _addresses(found, field)
    return addresses[:1] if name in _OF_ONE else addresses


def _addresses(found: Sequence[Any], field: str) -> list[str]:
    """Those of a list of addresses, or of objects with one. Raises RefusedError for other lists."""
    named = [one.get("emailAddress") if isinstance(one, dict) else one for one in found]
    if not named:
        raise RefusedError(f"{field} names no recipient")
    addresses = [one for one in named if isinstance(one, str) and one.strip()]
    if len(addresses) < len(named):
        raise RefusedError(f"{field} has a recipient without an address")
    return list(dict.fromkeys(addresses))


def _received(result: Result, request: Request) -> Reading:
    mail, receipt = part(result, "mail"), part(result, "receipt")
    own_id = required(mail, "messageId")
    own_at = moment(receipt.get("timestamp"), "receipt.timestamp")
    at = own_at or moment(mail.get("timestamp"), "mail.timestamp") or request.received_at
    named = parts(receipt, "recipients")
    recipients = (
        _addresses(named, "receipt.recipients") if named else _recipients(result, "Received")
    )
    sender = text(mail, "source")
    return Reading(
        "inbound message",
        [
            email(NAME, own_id, recipient, request, at, "INBOUND", sender=sender)
            for recipient in recipients
        ],
    )
