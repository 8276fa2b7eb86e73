-- Events that arrived before their message. They count once it is there, and cost nothing until then.
{{ config(materialized='restated', key='message_hash', touched='touched_messages') }}
-- depends_on: {{ ref('touched_messages') }}
select
    events.message_hash,
    any_value(events.message_id) as message_id,
    count(*) as events,
    min(events.occurred_at) as first_occurred_at
from {{ ref('stg_events') }} as events
anti join {{ ref('stg_messages') }} as messages on events.message_key = messages.message_key
anti join {{ ref('carried_messages') }} as carried on events.message_key = carried.message_key
group by events.message_hash, events.message_key
