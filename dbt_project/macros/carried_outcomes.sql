{% macro carried_outcomes() -%}
    {#- Outcomes that are held, and what the events that have come add to them: a status only where it is
        the first final one, for of two of a kind the moments would decide. -#}
select
    held.message_id,
    held.account_key,
    held.channel_code,
    held.direction,
    held.traffic_type,
    held.sender,
    held.sender_type,
    held.sender_domain,
    held.recipient_domain,
    held.communication,
    held.campaign_reference,
    held.network_id,
    held.country_id,
    held.application_id,
    held.entity_id,
    held.sent_at,
    held.traffic_out + held.traffic_in as segments,
    held.cost_cents_out + held.cost_cents_in as cost_cents,
    held.interactions_out + held.interactions_in = 1 as opens_interaction,
    held.message_hash,
    held.interaction_hash,

    case when finals.status_report is null then held.status else finals.status end as status,
    case when finals.status_report is null then held.status_group else finals.status_group end as status_group,
    case when finals.status_report is null then held.error_code else finals.error_code end as error_code,
    case when finals.status_report is null then held.error_group else finals.error_group end as error_group,
    case
        when finals.status_report is not null then coalesce(finals.bounce_type, 'NONE')
        when held.soft_bounced = 1 then 'SOFT'
        when held.hard_bounced = 1 then 'HARD'
        else 'NONE'
    end as bounce_type,
    coalesce(finals.event_type = 'DROPPED', held.dropped = 1) as is_dropped,
    coalesce(finals.is_suppression, held.suppressed = 1) as is_suppression,
    coalesce(held.delivered_at, events.first_delivered_at) as first_delivered_at,
    least(held.seen_at, events.seen_at) as seen_at,
    least(held.clicked_at, events.clicked_at) as clicked_at,
    held.opens + coalesce(events.opens, 0) as opens,
    held.clicks + coalesce(events.clicks, 0) as clicks,
    coalesce(urls.distinct_urls, 0) as distinct_urls,
    held.unsubscribed = 1 or coalesce(events.is_unsubscribed, false) as is_unsubscribed,
    held.complained = 1 or coalesce(events.is_complained, false) as is_complained
from {{ held_rows() }} as held
inner join (
    select
        message_hash,
        -- events of an inbound message change nothing
        case when direction = 'OUTBOUND' then message_key end as outbound_message_key
    from {{ ref('carried_messages') }}
) as messages on held.message_hash = messages.message_hash
left join {{ ref('int_events_by_message') }} as events
    on messages.outbound_message_key = events.message_key
left join {{ ref('stg_status_reports') }} as finals
    on events.status_report = finals.status_report and finals.status_group <> 'PENDING'
left join (
    -- these have the clicks that have come
    select message_hash, count(distinct url) as distinct_urls
    from {{ ref('fct_url_clicks') }}
    where message_hash in (select message_hash from {{ ref('carried_messages') }})
    group by message_hash
) as urls on held.message_hash = urls.message_hash
{%- endmacro %}
