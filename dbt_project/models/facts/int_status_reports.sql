-- Each way in which events report a status, once. Its number, which holds for one run, stands for it in
-- what is grouped and joined by message.
with

reports as (

    select distinct event_type, status, error_code, bounce_type, drop_reason
    from {{ ref('stg_events') }}

)

select
    row_number() over ()::integer as status_report,
    reports.*,
    event_types.status_group,
    event_types.is_final,
    event_types.precedence,
    error_codes.error_group,
    coalesce(drop_reasons.is_suppression, false) as is_suppression
from reports
inner join {{ ref('event_types') }} as event_types on reports.event_type = event_types.event_type
left join {{ ref('error_codes') }} as error_codes on reports.error_code = error_codes.error_code
left join {{ ref('drop_reasons') }} as drop_reasons on reports.drop_reason = drop_reasons.drop_reason
where event_types.bears_status
