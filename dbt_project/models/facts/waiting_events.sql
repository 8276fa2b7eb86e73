-- Events that arrived before their message. They count once it is there, and cost nothing until then.
{{ config(materialized='restated', key='message_hash', touched='touched_messages') }}
-- depends_on: {{ ref('touched_messages') }}, {{ ref('touched_event_records') }}, {{ source('raw', 'events') }}
with

waiting as (

    select events.message_key, events.message_hash, events.events, events.first_occurred_at
    from {{ ref('int_events_by_message') }} as events
    anti join {{ ref('stg_messages') }} as messages on events.message_key = messages.message_key
    anti join {{ ref('carried_messages') }} as carried on events.message_key = carried.message_key

)

select
    waiting.message_hash,
    any_value(records.message_id) as message_id,
    any_value(waiting.events) as events,
    any_value(waiting.first_occurred_at) as first_occurred_at
from waiting
inner join {{ source('raw', 'events') if everything_is_touched() else ref('touched_event_records') }} as records
    on waiting.message_hash = records.message_hash and waiting.message_key = {{ key_of('message', 'records.') }}
group by waiting.message_hash, waiting.message_key
