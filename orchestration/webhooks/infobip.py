"""Infobip: delivery reports of both versions and of the Messages API, seen, tracking, inbound.

Reports of SMS, MMS, Viber and others look alike: where neither the payload nor the folder names
the channel, SMS is a guess that any other report of the message corrects. Tracking notifications
name when the message was sent, not when it was opened or clicked.
"""

from orchestration.webhooks.reading import (
    GUESSED,
    KNOWN,
    Kind,
    Meaning,
    Message,
    Reading,
    RefusedError,
    Request,
    Result,
    cents,
    count,
    digest,
    event,
    identity,
    link,
    meaning,
    meanings,
    message,
    moment,
    part,
    required,
    text,
)

NAME = "infobip"
RESULTS: str | None = "results"
KINDS = {
    "delivery report": Kind.understood("the event that its status means, and the message"),
    "seen report": Kind.understood("SEEN, and the message"),
    "tracking": Kind.understood(
        "OPENED, CLICKED, UNSUBSCRIBED, COMPLAINED or BOUNCED (a late bounce), and the message"
    ),
    "inbound message": Kind.understood("an INBOUND message"),
    "inbound email": Kind.understood("an INBOUND message"),
    "conversation event": Kind.understood("conversation and traffic type of the message"),
    "typing indicator": Kind.set_aside("somebody types"),
    "suggestion event": Kind.set_aside("a tap on a suggestion that sends no message"),
    "deletion": Kind.set_aside("a user has deleted a message, which has been delivered before"),
    "template review": Kind.set_aside("a template's state"),
    "sender update": Kind.set_aside("a sender's state"),
    "account warning": Kind.set_aside("a bounce rate that is too high"),
    "consent update": Kind.set_aside("a user's wishes, of no single message"),
    "identity change": Kind.set_aside("a user's security code"),
    "payment": Kind.set_aside("a payment in a chat"),
    "marketing click": Kind.set_aside("a click in Messenger that names no link"),
    "capability check": Kind.set_aside("what a phone can receive"),
    "other channel": Kind.set_aside("a report of a channel that is not measured, as live chat"),
    "XML report": Kind.refused("ask Infobip for JSON"),
}
_SEEN = Meaning(event_type="SEEN")


def read(result: Result, request: Request) -> Reading:
    """What one entry of `results`, or one body without any, means."""
    name = result.get("event")
    kind = name.get("type") if isinstance(name, dict) else name
    if kind in (None, "DELIVERY") and "doneAt" in result and "status" in result:
        return _delivery(result, request)  # most of what comes
    aside = _set_aside(result, kind)
    if aside:
        return Reading(aside)
    notification = text(result, "notificationType")
    if notification:
        return _tracking(result, request, notification)
    if kind == "CONVERSATION_STARTED":
        return _conversation(result, request)
    if kind == "SEEN" or (kind is None and "seenAt" in result):
        return _seen(result, request)
    if kind == "MO" or (kind is None and "receivedAt" in result):
        return _inbound(result, request)
    if kind == "DELIVERY" or (kind is None and isinstance(result.get("status"), dict)):
        return _delivery(result, request)
    if kind is None and "spfCheck" in result:
        return _inbound_email(result, request)
    raise RefusedError("it is no payload of Infobip's that is known")


def _set_aside(result: Result, kind: object) -> str | None:
    """The kind of a payload that is no message traffic."""
    content = part(result, "content")
    listed = meanings(NAME).get(f"event.{kind}") if isinstance(kind, str) else None
    if listed:
        return listed.code
    if text(part(result, "message"), "typingIndicatorType"):
        return "typing indicator"
    if text(result, "interactionType") == "EVENT":
        return "suggestion event"
    if "messageTemplateId" in result or "TEMPLATE" in (text(part(result, "change"), "type") or ""):
        return "template review"
    if (text(part(result, "eventDetails"), "type") or "").startswith("HIGH_BOUNCE_RATE"):
        return "account warning"
    if "deletedAt" in result:
        return "deletion"
    if "capabilityCheckResult" in result:
        return "capability check"
    if text(result, "notificationType") == "MARKETING_CLICK":
        return "marketing click"
    if "notificationMessagesStatus" in content:
        return "consent update"
    return {"user_identity_changed": "identity change", "payment": "payment"}.get(
        text(content, "type") or ""
    )


def _delivery(result: Result, request: Request) -> Reading:
    status, error = part(result, "status"), part(result, "error")
    group = required(status, "groupName").upper()
    means = meaning(NAME, "group", group)
    done_at = moment(result.get("doneAt"), "doneAt")
    at = done_at or request.received_at
    of = _message(result, request, "OUTBOUND", at)
    if of is None:
        return Reading("other channel")
    name, error_code = text(status, "name"), text(error, "name")
    if of.channel_code == "EMAIL" and means.event_type in ("UNDELIVERABLE", "REJECTED"):
        means = _email_failure(means, error_code, is_permanent=error.get("permanent") is True)
    event_id = identity(
        NAME, "delivery", required(result, "messageId"), digest(done_at, group, name, error_code)
    )
    reported = event(event_id, of.message_id, at, means, status=name, error_code=error_code)
    return Reading("delivery report", [of], [reported])


def _email_failure(means: Meaning, error_code: str | None, *, is_permanent: bool) -> Meaning:
    """An email that failed was dropped where the error says so; one that left has bounced."""
    listed = meanings(NAME).get(f"email_error.{error_code}")
    if listed:
        return listed
    if means.event_type == "REJECTED":
        return means
    return Meaning(event_type="BOUNCED", bounce_type="HARD" if is_permanent else "SOFT")


def _seen(result: Result, request: Request) -> Reading:
    seen_at = moment(result.get("seenAt"), "seenAt")
    at = seen_at or request.received_at
    of = _message(result, request, "OUTBOUND", at)
    if of is None:
        return Reading("other channel")
    event_id = identity(NAME, "seen", required(result, "messageId"), digest(seen_at))
    return Reading("seen report", [of], [event(event_id, of.message_id, at, _SEEN)])


def _tracking(result: Result, request: Request, notification: str) -> Reading:
    means = meaning(NAME, "notification", notification)
    at = request.received_at
    of = _message(result, request, "OUTBOUND", at)
    if of is None:
        return Reading("other channel")
    own_id = text(result, "eventId") or required(result, "messageId")
    # One eventId stands on an opening and on a click, and clicks of SMS have none.
    event_id = identity(NAME, notification.lower(), own_id, digest(dict(result)))
    tracked = event(event_id, of.message_id, at, means, url=link(means, result, "url"))
    return Reading("tracking", [of], [tracked])


def _conversation(result: Result, request: Request) -> Reading:
    at = moment(part(result, "conversation").get("startTime"), "startTime") or request.received_at
    of = _message(result, request, "OUTBOUND", at)
    if of is None:
        return Reading("other channel")
    # Which side the message is of, other reports know better.
    return Reading("conversation event", [of._replace(source_rank=GUESSED)])


def _inbound(result: Result, request: Request) -> Reading:
    at = moment(result.get("receivedAt"), "receivedAt") or request.received_at
    of = _message(result, request, "INBOUND", at)
    return Reading("inbound message", [of]) if of else Reading("other channel")


def _inbound_email(result: Result, request: Request) -> Reading:
    of = message(
        request,
        identity(NAME, "message", required(result, "id")),
        *("INBOUND", "EMAIL", request.received_at),
        sender=text(result, "from"),
        recipient=(text(result, "to") or "").strip("[]") or None,
    )
    return Reading("inbound email", [of])


# --- messages --------------------------------------------------------------------------------


def _message(result: Result, request: Request, direction: str, at: str) -> Message | None:
    """The message that a result tells of; None on a channel that is not measured."""
    own_id = text(result, "messageId") or text(part(result, "message"), "mid")
    if own_id is None:
        raise RefusedError("messageId is missing")
    channel, rank = _channel(result, request)
    if channel is None:
        return None
    sender, recipient = _sides(result)
    sent = result.get("sentAt") or result.get("sendAt") or result.get("sendDateTime")
    platform, price = part(result, "platform"), part(result, "price")
    segments = count(result.get("messageCount") or result.get("smsCount") or result.get("rcsCount"))
    amount, currency = cents(
        price.get("pricePerMessage"), price.get("currency"), int(segments or "1")
    )
    return message(
        *(request, identity(NAME, "message", own_id), direction, channel, at),
        sent_at=moment(sent, "sentAt"),
        sender=sender,
        recipient=recipient,
        segments=segments,
        cost_cents=amount,
        currency=currency,
        traffic_type=_traffic_type(result, price),
        interaction_id=text(part(result, "conversation"), "id"),
        campaign_reference_id=text(result, "campaignReferenceId"),
        network_id=_network_id(text(result, "mccMnc")),
        application_id=text(platform, "applicationId") or text(result, "applicationId"),
        entity_id=text(platform, "entityId") or text(result, "entityId"),
        source_rank=rank,
    )


def _sides(result: Result) -> tuple[str | None, str | None]:
    """(sender, recipient), as far as they are named.

    Descriptions and samples of seen reports contradict each other in which side `from` is, and an
    end user must not pass for a sender: there neither side is read.
    """
    if "seenAt" in result and "from" in result:
        return None, None
    sender = text(result, "sender") or text(result, "from")
    recipient = text(result, "to") or text(result, "destination") or text(result, "recipient")
    return sender, recipient


def _channel(result: Result, request: Request) -> tuple[str | None, int]:
    """The channel, None for one that is not measured, and whether it is certain."""
    named = text(result, "channel") or text(result, "integrationType")
    if named:
        return meaning(NAME, "channel", named).code or None, KNOWN
    to = text(result, "to") or text(result, "recipient") or ""
    if "@" in to and (
        "domain" in result or "sendingIp" in result or "smtp" in result or "browserLink" in result
    ):
        return "EMAIL", KNOWN
    if "rcsCount" in result or "interactionType" in result or isinstance(result.get("event"), dict):
        return "RCS", KNOWN
    if request.channel_code:
        return request.channel_code, KNOWN
    if "@" in to:
        return "EMAIL", KNOWN
    if "mid" in part(result, "message"):
        return "FB", KNOWN
    if "userId" in part(result, "contact") or "phoneNumber" in part(result, "contact"):
        return "WHATSAPP", KNOWN
    if "seenAt" in result:
        return "WHATSAPP", GUESSED
    return ("MMS" if isinstance(result.get("message"), list) else "SMS"), GUESSED


def _traffic_type(result: Result, price: Result) -> str | None:
    for name in (result.get("trafficType"), price.get("trafficType")):
        listed = meanings(NAME).get(f"traffic.{name}") if isinstance(name, str) else None
        if listed:
            return listed.code
    return None


def _network_id(mcc_mnc: str | None) -> str | None:
    """MCC x 1000 + MNC of five or six digits."""
    if mcc_mnc is None or not mcc_mnc.isascii() or not mcc_mnc.isdigit():
        return None
    return str(int(mcc_mnc[:3]) * 1000 + int(mcc_mnc[3:])) if len(mcc_mnc) in (5, 6) else None
