-- The event that decides a message's current status: the last final one, else the last pending one.
with

status_events as (

    select
        events.message_id,
        events.event_id,
        events.event_type,
        events.occurred_at,
        event_types.is_final,
        event_types.precedence,
        events.status,
        event_types.status_group,
        events.error_code,
        events.bounce_type,
        events.drop_reason
    from {{ ref('stg_events') }} as events
    inner join {{ ref('event_types') }} as event_types on events.event_type = event_types.event_type
    where event_types.bears_status

)

select
    status_events.message_id,
    status_events.event_type,
    status_events.status,
    status_events.status_group,
    status_events.error_code,
    error_codes.error_group,
    status_events.bounce_type,
    coalesce(drop_reasons.is_suppression, false) as is_suppression
from status_events
left join {{ ref('error_codes') }} as error_codes on status_events.error_code = error_codes.error_code
left join {{ ref('drop_reasons') }} as drop_reasons on status_events.drop_reason = drop_reasons.drop_reason
qualify row_number() over (
    partition by status_events.message_id
    order by
        status_events.is_final desc,
        status_events.occurred_at desc,
        status_events.precedence desc,
        status_events.event_id desc
) = 1
