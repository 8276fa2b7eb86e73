"""Twilio: status callbacks and inbound messages as form posts, and its Event Streams.

A callback of a form post has no time of its own. A message id is Twilio's SID, which is never used
again; a status is told once, so SID and status are an event's id.
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
    country_ids,
    digest,
    event,
    identity,
    meaning,
    meanings,
    message,
    moment,
    part,
    required,
    text,
)

NAME = "twilio"
RESULTS: str | None = None
KINDS = {
    "message status": Kind.understood("the event that its status means, and the message"),
    "inbound message": Kind.understood("an INBOUND message"),
    "event stream": Kind.understood("as the callback of that name, with a time of its own"),
    "link click": Kind.understood("CLICKED, and the message"),
    "other stream": Kind.set_aside("an event of another product, as Verify, Voice or error logs"),
    "call": Kind.set_aside("a voice call"),
    "conversation": Kind.set_aside("a change of a Conversations resource"),
    "debugger alert": Kind.set_aside("a warning to the account"),
}
_STREAMED = "com.twilio."
_CLICK = Meaning(event_type="CLICKED")


def read(result: Result, request: Request) -> Reading:
    """What one callback or one streamed event means."""
    if isinstance(result.get("type"), str) and "data" in result:
        return _streamed(result, request)
    if "CallSid" in result:
        return Reading("call")
    if "ConversationSid" in result or "ChatServiceSid" in result:
        return Reading("conversation")
    if "Level" in result and "Payload" in result:
        return Reading("debugger alert")
    if "event_type" in result:
        result = _as_posted(result)
    if "EventType" in result and str(result["EventType"]).lower() == "click":
        return _click(result, request, request.received_at)
    status = text(result, "MessageStatus") or text(result, "SmsStatus")
    if status is None:
        raise RefusedError("it has no MessageStatus and no SmsStatus")
    if status.lower() in ("received", "receiving"):
        return _inbound(result, request, request.received_at)
    return _status(result, request, status.lower(), request.received_at)


def _as_posted(result: Result) -> Result:
    """Fields in the spelling of form posts (MessageSid), from messageSid or message_sid."""
    return {
        "".join(word[:1].upper() + word[1:] for word in name.split("_")): value
        for name, value in result.items()
    }


def _streamed(result: Result, request: Request) -> Reading:
    name, data = str(result["type"]), part(result, "data")
    if not name.startswith(_STREAMED):
        raise RefusedError("it is no event of Twilio's")
    posted = _as_posted(data)
    at = moment(posted.get("Timestamp") or result.get("time"), "timestamp") or request.received_at
    product, _, what = name.removeprefix(_STREAMED).rpartition(".")
    if what == "link-clicked":
        reading = _click(posted, request, at)
    elif product == "messaging.inbound-message":
        reading = _inbound(posted, request, at)
    elif product == "messaging.message":
        status = text(posted, "MessageStatus") or what
        reading = _status(posted, request, status.lower(), at)
    elif product.startswith("messaging."):
        raise RefusedError("it is no event of Twilio's messaging that is known")
    else:
        return Reading("other stream")
    reading.kind = "event stream"
    return reading


def _sid(result: Result) -> str:
    return required(result, "MessageSid", "SmsMessageSid", "SmsSid")


def _status(result: Result, request: Request, status: str, at: str) -> Reading:
    means, sid = meaning(NAME, "status", status), _sid(result)
    code = text(result, "ErrorCode")
    known, error = None, None
    if code and code != "0":
        known = meanings(NAME).get(f"error.{code}")
        error = (known and known.error_code) or f"TWILIO_{code}"
    if known and known.event_type and means.event_type in ("UNDELIVERABLE", "REJECTED"):
        # A code may say more than the status: that time ran out, that the user has opted out.
        means = known
    of = _message(result, request, sid, "OUTBOUND", at)
    event_id = identity(NAME, status, sid)
    return Reading(
        "message status", [of], [event(event_id, of.message_id, at, means, error_code=error)]
    )


def _inbound(result: Result, request: Request, at: str) -> Reading:
    return Reading("inbound message", [_message(result, request, _sid(result), "INBOUND", at)])


def _click(result: Result, request: Request, at: str) -> Reading:
    sid, url = _sid(result), required(result, "Link", "Url", "LinkUrl")
    own = text(result, "ClickTime") or text(result, "ClickedAt")
    clicked_at = moment(own, "ClickTime") or at
    of = _message(result, request, sid, "OUTBOUND", clicked_at)
    # Clicks have no id, and a link may be clicked again.
    event_id = identity(NAME, "click", sid, digest(url, own))
    return Reading(
        "link click", [of], [event(event_id, of.message_id, clicked_at, _CLICK, url=url)]
    )


def _message(result: Result, request: Request, sid: str, direction: str, at: str) -> Message:
    sender, recipient = text(result, "From"), text(result, "To")
    channel, rank = _channel(result, request, sid, sender, recipient)
    price, currency = cents(result.get("Price"), result.get("PriceUnit"))
    is_inbound = direction == "INBOUND"
    return message(
        *(request, identity(NAME, "message", sid), direction, channel, at),
        sender=_bare(sender),
        recipient=_bare(recipient),
        segments=count(result.get("NumSegments") or result.get("NumberOfSegments")),
        cost_cents=price,
        currency=currency,
        country_id=country_ids().get(
            text(result, f"{'From' if is_inbound else 'To'}Country") or ""
        ),
        # Of both directions the codes are those of the number that it is from.
        network_id=_network_id(result) if is_inbound else None,
        source_rank=rank,
    )


def _network_id(result: Result) -> str | None:
    """MCC x 1000 + MNC."""
    mcc, mnc = text(result, "Mcc"), text(result, "Mnc")
    if not (mcc and mnc and mcc.isdecimal() and mnc.isdecimal() and len(mcc + mnc) < 7):
        return None
    return str(int(mcc) * 1000 + int(mnc))


def _channel(
    result: Result, request: Request, sid: str, sender: str | None, recipient: str | None
) -> tuple[str, int]:
    """The channel that addresses tell, as whatsapp:+..., and whether that is certain."""
    for address in (sender, recipient):
        prefix, colon, _ = (address or "").partition(":")
        if colon:
            return meaning(NAME, "channel", prefix.lower()).code, KNOWN
    if request.channel_code:
        return request.channel_code, KNOWN
    if sid.startswith("MM") or (text(result, "NumMedia") or "0") != "0":
        return "MMS", KNOWN
    return "SMS", GUESSED


def _bare(address: str | None) -> str | None:
    return (address.partition(":")[2] or address) if address else None
