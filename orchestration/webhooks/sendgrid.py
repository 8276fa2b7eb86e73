"""SendGrid: the Event Webhook, a list of events in each request, and Inbound Parse.

Events name the recipient and never the sender. A message is the X-Message-Id that the API answered
with, which sg_message_id begins with, and the recipient.
"""

import re

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
    required,
    text,
)

NAME = "sendgrid"
RESULTS: str | None = None
KINDS = {
    "delivery event": Kind.understood(
        "ACCEPTED, SENT, DELIVERED, BOUNCED, DROPPED or EXPIRED, and the message"
    ),
    **ENGAGEMENT_KIND,
    "inbound message": Kind.understood("an INBOUND message, as Inbound Parse posts it"),
    "resubscription": Kind.set_aside("a user's wishes, of no single message"),
    "account change": Kind.set_aside("a warning to the account"),
}
_API_ID = re.compile(r"^(.+?)\.(?:filter|recvd)")
_HEADER_ID = re.compile(r"^Message-ID:\s*<?([^<>\s]+)", re.IGNORECASE | re.MULTILINE)


def read(result: Result, request: Request) -> Reading:
    """What one event of the list means, or one email that came in."""
    if "event" not in result and "envelope" in result and "from" in result:
        return _inbound(result, request)
    name = required(result, "event")
    means = meaning(NAME, "event", name)
    if means.code:
        return Reading(means.code)
    if means.event_type == "BOUNCED":
        # named by its type, or, as some write it, by the event itself: a block is a soft one
        means = meaning(NAME, "bounce", (text(result, "type") or name).lower())
    elif means.event_type == "DROPPED":
        means = _drop(result)
    at = moment(result.get("timestamp"), "timestamp") or request.received_at
    campaign = text(result, "marketing_campaign_id") or text(result, "singlesend_id")
    of_email = email(
        *(NAME, _message_id(result), required(result, "email"), request, at),
        campaign_reference_id=campaign,
    )
    # An event without an id of its own is known by what it says.
    event_id = identity(NAME, name, text(result, "sg_event_id") or digest(dict(result)))
    return happened(of_email, event_id, at, means, link(means, result, "url"))


def _inbound(result: Result, request: Request) -> Reading:
    """An email that Inbound Parse posts as a form: its time and id stand in the headers alone."""
    found = _HEADER_ID.search(text(result, "headers") or "")
    own_id = header_id(found.group(1)) if found else digest(dict(result))
    sender, recipient = required(result, "from"), required(result, "to")
    at = request.received_at
    return came_in(NAME, own_id, recipient, request, at, sender)


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
