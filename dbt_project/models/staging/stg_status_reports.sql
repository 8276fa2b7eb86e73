-- Each way in which events say what became of a message, once: as they tell it, and with the fields that
-- belong to the event's type, defaults filled in. Its number stands for it in what is joined and grouped.
-- depends_on: {{ ref('touched_event_records') }}
with

told as (

    select distinct event_type, status, error_code, bounce_type, drop_reason
    from {{ source('raw', 'events') if everything_is_touched() else ref('touched_event_records') }}

),

reports as (

    select
        row_number() over ()::integer as status_report,
        told.event_type,
        told.status as told_status,
        told.error_code as told_error_code,
        told.bounce_type as told_bounce_type,
        told.drop_reason as told_drop_reason,
        case when event_types.bears_status then coalesce(told.status, event_types.default_status) end as status,
        case when event_types.bears_status then coalesce(told.error_code, 'NO_ERROR') end as error_code,
        case when told.event_type = 'BOUNCED' then told.bounce_type end as bounce_type,
        case when told.event_type = 'DROPPED' then coalesce(told.drop_reason, 'OTHER') end as drop_reason,
        event_types.bears_status,
        event_types.status_group,
        event_types.is_final,
        event_types.precedence
    from told
    inner join {{ ref('event_types') }} as event_types on told.event_type = event_types.event_type

)

select
    reports.*,
    error_codes.error_group,
    coalesce(drop_reasons.is_suppression, false) as is_suppression
from reports
left join {{ ref('error_codes') }} as error_codes on reports.error_code = error_codes.error_code
left join {{ ref('drop_reasons') }} as drop_reasons on reports.drop_reason = drop_reasons.drop_reason
