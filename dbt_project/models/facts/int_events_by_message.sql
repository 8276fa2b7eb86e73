-- What the events of a message come to, rolled up before anything joins it, so that nothing fans out.
with

events as not materialized (

    select
        events.*,
        reports.is_final,
        reports.precedence,
        reports.bears_status,
        events.event_type in ('SEEN', 'OPENED') as is_opening
    from {{ ref('stg_events') }} as events
    inner join {{ ref('stg_status_reports') }} as reports on events.status_report = reports.status_report

)

select
    message_key,
    any_value(message_hash) as message_hash,
    count(*) as events,
    min(occurred_at) as first_occurred_at,
    -- the last final one, else the last pending one
    arg_max(status_report, (is_final, occurred_at, precedence, event_id)) filter (bears_status) as status_report,
    min(occurred_at) filter (event_type = 'DELIVERED') as first_delivered_at,
    min(occurred_at) filter (is_opening) as seen_at,
    min(occurred_at) filter (is_click) as clicked_at,
    count(*) filter (is_opening) as opens,
    count(*) filter (is_click) as clicks,
    count(distinct url) filter (is_click) as distinct_urls,
    bool_or(event_type = 'UNSUBSCRIBED') as is_unsubscribed,
    bool_or(event_type = 'COMPLAINED') as is_complained
from events
group by message_key
