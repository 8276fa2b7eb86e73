-- The event that decides a message's current status: the last final one, else the last pending one.
with

status_events as (

    select
        events.*,
        event_types.is_final,
        event_types.precedence,
        event_types.status_group
    from {{ ref('stg_events') }} as events
    inner join {{ ref('event_types') }} as event_types on events.event_type = event_types.event_type
    where event_types.bears_status

),

deciding as (

    select
        message_key,
        arg_max(
            struct_pack(event_type, status, status_group, error_code, bounce_type, drop_reason),
            (is_final, occurred_at, precedence, event_id)
        ) as event
    from status_events
    group by message_key

)

select
    deciding.message_key,
    deciding.event.event_type,
    deciding.event.status,
    deciding.event.status_group,
    deciding.event.error_code,
    error_codes.error_group,
    deciding.event.bounce_type,
    coalesce(drop_reasons.is_suppression, false) as is_suppression
from deciding
left join {{ ref('error_codes') }} as error_codes on deciding.event.error_code = error_codes.error_code
left join {{ ref('drop_reasons') }} as drop_reasons on deciding.event.drop_reason = drop_reasons.drop_reason
