"""The providers whose webhooks are read, by the name of their folder below landing/webhooks."""

from collections.abc import Mapping
from types import ModuleType

from orchestration.webhooks import amazon_ses, infobip, mailgun, postmark, sendgrid, twilio

PROVIDERS: Mapping[str, ModuleType] = {
    module.NAME: module for module in (infobip, twilio, sendgrid, mailgun, amazon_ses, postmark)
}
