-- They are kept and change no metric; who sends them may have mistaken the direction.
{{ config(severity='warn', meta={'dagster': {'ref': {'name': 'stg_events'}}}) }}
select
    events.event_id,
    events.message_id,
    events.event_type
from {{ ref('stg_events') }} as events
inner join (
    select message_id, direction from {{ ref('stg_messages') }}
    union all
    select message_id, direction from {{ ref('carried_messages') }}
) as messages on events.message_id = messages.message_id
where messages.direction = 'INBOUND'
