"""Twilio: status callbacks and inbound messages as form posts, and its Event Streams.

A callback of a form post has no time of its own. A message id is Twilio's SID, which is never used
again; a status is told once, so SID and status are an event's id.
"""

from orchestration.webhooks.reading import (
    GUESSED,
    KNOWN,
    SET_ASIDE,
    UNDERSTOOD,
    Kind,
    Meaning,
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
    moment,
    part,
    required,
    text,
)

NAME = "twilio"
RESULTS: str | None = None
KINDS = {
    "message status": Kind(UNDERSTOOD, "the event that its status means, and the message"),
    "inbound message": Kind(UNDERSTOOD, "an INBOUND message"),
    "event stream": Kind(UNDERSTOOD, "as the callback of that name, with a time of its own"),
    "link click": Kind(UNDERSTOOD, "CLICKED, and the message"),
    "call": Kind(SET_ASIDE, "a voice call"),
    "conversation": Kind(SET_ASIDE, "a change of a Conversations resource"),
    "debugger alert": Kind(SET_ASIDE, "a warning to the account"),
}
_STREAMED = "com.twilio.messaging."


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
    if "EventType" in result and str(result["EventType"]).lower() == "click":
        return _click(result, request, request.received_at)
    status = text(result, "MessageStatus") or text(result, "SmsStatus")
    if status is None:
        raise RefusedError("it has no MessageStatus and no SmsStatus")
    if status.lower() in ("received", "receiving"):
        return _inbound(result, request, request.received_at)
    return _status(result, request, status.lower(), request.received_at)


def _streamed(result: Result, request: Request) -> Reading:
    name, data = str(result["type"]), part(result, "data")
    if not name.startswith(_STREAMED):
        raise RefusedError("it is no event of Twilio's messaging")
    # The spelling of form posts, which is what the rest of the module reads.
    posted = {key[:1].upper() + key[1:]: value for key, value in data.items()}
    at = moment(data.get("timestamp") or result.get("time"), "timestamp") or request.received_at
    if name.endswith("inbound-message.received"):
        reading = _inbound(posted, request, at)
    elif name.endswith("link-shortening.click") or name.endswith(".clicked"):
        reading = _click(posted, request, at)
    else:
        status = text(data, "messageStatus") or name.rpartition(".")[2]
        reading = _status(posted, request, status.lower(), at)
    reading.kind = "event stream"
    return reading


def _sid(result: Result) -> str:
    return required(result, "MessageSid", "SmsMessageSid", "SmsSid")


def _status(result: Result, request: Request, status: str, at: str) -> Reading:
    means = meaning(NAME, "status", status)
    reading = Reading("message status")
    sid = _sid(result)
    message = _message(result, request, sid, "OUTBOUND", at)
    reading.messages.append(message)
    code = text(result, "ErrorCode")
    if code in (None, "0"):
        code = None
        known = None
    else:
        known = meanings(NAME).get(f"error.{code}")
    if known and known.event_type and means.event_type in ("UNDELIVERABLE", "REJECTED"):
        # A code may say more than the status: that time ran out, that the user has opted out.
        means = known
    error = (known.error_code if known else "") or (code and f"TWILIO_{code}")
    reading.events.append(
        event(
            identity(NAME, status, sid), message["message_id"], at, means, error_code=error or None
        )
    )
    return reading


def _inbound(result: Result, request: Request, at: str) -> Reading:
    return Reading("inbound message", [_message(result, request, _sid(result), "INBOUND", at)])


def _click(result: Result, request: Request, at: str) -> Reading:
    sid = _sid(result)
    message = _message(result, request, sid, "OUTBOUND", at)
    url = required(result, "Link", "Url", "LinkUrl")
    own = text(result, "ClickTime") or text(result, "ClickedAt")
    clicked_at = moment(own, "ClickTime") or at
    # Clicks have no id, and a link may be clicked again.
    event_id = identity(NAME, "click", sid, digest(url, own))
    clicked = event(
        event_id, message["message_id"], clicked_at, Meaning(event_type="CLICKED"), url=url
    )
    return Reading("link click", [message], [clicked])


def _message(result: Result, request: Request, sid: str, direction: str, at: str) -> dict:
    sender, recipient = text(result, "From"), text(result, "To")
    channel, rank = _channel(result, request, sid, sender, recipient)
    price, currency = cents(result.get("Price"), result.get("PriceUnit"))
    end_users_country = "ToCountry" if direction == "OUTBOUND" else "FromCountry"
    mcc, mnc = text(result, "Mcc"), text(result, "Mnc")
    is_network = mcc and mnc and mcc.isdecimal() and mnc.isdecimal() and len(mcc + mnc) < 7
    return {
        "message_id": identity(NAME, "message", sid),
        "account_key": request.account_key,
        "direction": direction,
        "channel_code": channel,
        "sent_at": at,
        "updated_at": at,
        "sender": _bare(sender),
        "recipient": _bare(recipient),
        "segments": count(result.get("NumSegments")),
        "cost_cents": price,
        "currency": currency,
        "country_id": country_ids().get(text(result, end_users_country) or ""),
        "network_id": str(int(mcc or 0) * 1000 + int(mnc or 0)) if is_network else None,
        "source_rank": rank,
    }


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
