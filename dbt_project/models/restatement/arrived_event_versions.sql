-- Of the events that arrived every version there is: an earlier one may name another message.
{% set window = restatement() %}
select
    events.event_hash,
    events.message_hash,
    events.batch_id <= {{ window.after }} as is_earlier
from {{ source('raw', 'events') }} as events
{%- if window.everything %}
where false
{%- else %}
semi join (
    select event_hash from {{ source('raw', 'events') }} where {{ arrived(window) }}
) as arrived on events.event_hash = arrived.event_hash
{%- endif %}
