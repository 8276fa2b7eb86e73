-- Messages whose held outcome can be carried on: nothing but events that never came before arrived of
-- them, so what these come to is added to what is held, and no record of earlier runs is read again.
-- depends_on: {{ ref('arrived_event_versions') }}, {{ ref('directly_touched_messages') }}, {{ ref('held_outcomes') }}
-- depends_on: {{ ref('moved_events') }}, {{ ref('event_types') }}, {{ source('raw', 'events') }}
{% set window = restatement() %}
{% if not window.continues -%}
select
    null::ubigint as message_hash,
    null::uhugeint as message_key,
    null::varchar as message_id,
    null::varchar as account_key,
    null::varchar as channel_code,
    null::varchar as direction,
    null::timestamp as sent_at
where false
{%- else -%}
with

came_before as (

    select event_hash from {{ ref('arrived_event_versions') }} where batch_id <= {{ window.after }}

),

arrived as (

    select
        events.message_hash,
        any_value({{ key_of('message', 'events.') }}) as message_key,
        any_value(events.message_id) as message_id,
        -- some event of which every version that arrived is final, for only one version counts
        count(distinct events.event_hash) > count(distinct events.event_hash) filter (
            not (event_types.bears_status and event_types.is_final)
        ) as has_final,
        bool_or(event_types.bears_status and event_types.is_final) as may_have_final,
        bool_or(event_types.bears_status and not event_types.is_final) as has_pending
    from {{ source('raw', 'events') }} as events
    inner join {{ ref('event_types') }} as event_types on events.event_type = event_types.event_type
    semi join {{ ref('held_outcomes') }} as held on events.message_hash = held.message_hash
    left join came_before on events.event_hash = came_before.event_hash
    where {{ arrived(window) }}
    group by events.message_hash
    having count(came_before.event_hash) = 0 and min(events.message_id) = max(events.message_id)

),

of_one_message as (

    select message_hash from {{ ref('held_outcomes') }} group by message_hash having count(*) = 1

)

select
    held.message_hash,
    arrived.message_key,
    held.message_id,
    held.account_key,
    held.channel_code,
    held.direction,
    held.sent_at
from {{ ref('held_outcomes') }} as held
semi join of_one_message on held.message_hash = of_one_message.message_hash
inner join arrived on held.message_hash = arrived.message_hash and held.message_id = arrived.message_id
semi join {{ ref('directly_touched_messages') }} as touched
    on held.message_hash = touched.message_hash and touched.is_by_events_alone
anti join {{ ref('moved_events') }} as moved on held.message_hash = moved.message_hash
anti join {{ held('waiting_events') }} as waiting on held.message_hash = waiting.message_hash
where
    held.direction = 'INBOUND'
    -- The first final status stands before all pending ones. Between two of a kind their moments decide,
    -- and those of the held one are not held.
    or case when held.status_group = 'PENDING' then has_final or not has_pending else not may_have_final end
{%- endif %}
