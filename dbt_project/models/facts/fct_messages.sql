{{ config(
    materialized='restated',
    key='message_hash',
    touched='touched_messages',
    read_before='held_outcomes',
    changes=true,
    post_hook="create or replace table {{ this.schema }}.applied_error_codes as select * from {{ ref('error_codes') }}",
) }}
-- depends_on: {{ ref('touched_messages') }}, {{ ref('carried_messages') }}, {{ ref('held_outcomes') }}
-- depends_on: {{ ref('fct_url_clicks') }}
with

messages as not materialized (

    select
        *,
        direction = 'OUTBOUND' as is_outbound,
        -- events of an inbound message change nothing
        case when direction = 'OUTBOUND' then message_key end as outbound_message_key,
        case when direction = 'OUTBOUND' then sender else recipient end as company_address,
        case when direction = 'OUTBOUND' then recipient else sender end as end_user_address
    from {{ ref('stg_messages') }}

),

outcomes as (

    select
        messages.message_id,
        messages.account_key,
        messages.channel_code,
        messages.direction,
        messages.traffic_type,
        messages.company_address as sender,
        messages.sender_type,
        case when messages.channel_code = 'EMAIL' then {{ email_domain('messages.company_address') }} end as sender_domain,
        case when messages.channel_code = 'EMAIL' then {{ email_domain('messages.end_user_address') }} end as recipient_domain,
        messages.communication_id as communication,
        messages.campaign_reference_id as campaign_reference,
        messages.network_id,
        messages.country_id,
        messages.application_id,
        messages.entity_id,
        messages.sent_at,
        messages.segments,
        case when messages.currency = '{{ var("currency") }}' then messages.cost_cents else 0 end as cost_cents,
        messages.interaction_id is null or openers.message_key is not null as opens_interaction,
        messages.message_hash,
        case
            when messages.interaction_id is not null
                then {{ interaction_hash('messages.account_key', 'messages.interaction_id') }}
        end as interaction_hash,

        case
            when not messages.is_outbound then 'DELIVERED_TO_HANDSET'
            else coalesce(statuses.status, 'PENDING_ENROUTE')
        end as status,
        case
            when not messages.is_outbound then 'DELIVERED'
            else coalesce(statuses.status_group, 'PENDING')
        end as status_group,
        coalesce(statuses.error_code, 'NO_ERROR') as error_code,
        case when statuses.status_report is null then 'OK' else statuses.error_group end as error_group,
        coalesce(statuses.bounce_type, 'NONE') as bounce_type,
        coalesce(statuses.event_type = 'DROPPED', false) as is_dropped,
        coalesce(statuses.is_suppression, false) as is_suppression,
        events.first_delivered_at,
        events.seen_at,
        events.clicked_at,
        coalesce(events.opens, 0) as opens,
        coalesce(events.clicks, 0) as clicks,
        coalesce(events.distinct_urls, 0) as distinct_urls,
        coalesce(events.is_unsubscribed, false) as is_unsubscribed,
        coalesce(events.is_complained, false) as is_complained
    from messages
    left join {{ ref('int_events_by_message') }} as events
        on messages.outbound_message_key = events.message_key
    left join {{ ref('stg_status_reports') }} as statuses
        on events.status_report = statuses.status_report
    left join {{ ref('int_interaction_openers') }} as openers
        on messages.message_key = openers.message_key
    {%- if not everything_is_touched() %}

    union all by name

    {{ carried_outcomes() | indent(4) }}
    {%- endif %}

),

states as (

    select
        *,
        direction = 'OUTBOUND' as is_outbound,
        is_outbound and status_group = 'DELIVERED' as is_delivered,
        is_outbound and status_group = 'REJECTED' as is_rejected,
        case when is_delivered then first_delivered_at end as delivered_at
    from outcomes

),

durations as (

    select
        *,
        {{ seconds_between('sent_at', 'delivered_at') }} as time_to_deliver_seconds,
        {{ seconds_between('seen_at', 'clicked_at') }} as time_to_click_from_seen_seconds,
        {{ seconds_between('delivered_at', 'clicked_at') }} as time_to_click_from_delivered_seconds,
        {{ seconds_between('delivered_at', 'seen_at') }} as time_to_seen_from_delivered_seconds,
        is_outbound and (channel_code <> 'EMAIL' or not (is_rejected or is_dropped)) as is_sent
    from states

)

select
    ---------- dimensions
    message_id,
    account_key,
    channel_code,
    direction,
    traffic_type,
    sender,
    sender_type,
    sender_domain,
    recipient_domain,
    communication,
    campaign_reference,
    network_id,
    country_id,
    application_id,
    entity_id,
    status_group,
    status,
    error_group,
    error_code,
    {{ time_bucket('time_to_deliver_seconds') }} as time_to_deliver,
    {{ time_bucket('time_to_click_from_seen_seconds') }} as time_to_click_from_seen,
    {{ time_bucket('time_to_click_from_delivered_seconds') }} as time_to_click_from_delivered,
    {{ time_bucket('time_to_seen_from_delivered_seconds') }} as time_to_seen_from_delivered,

    ---------- times
    sent_at,
    delivered_at,
    seen_at,
    clicked_at,
    time_to_deliver_seconds,
    time_to_click_from_seen_seconds,
    time_to_click_from_delivered_seconds,
    time_to_seen_from_delivered_seconds,

    ---------- measures
    is_outbound::integer as messages_out,
    (not is_outbound)::integer as messages_in,
    case
        when is_outbound and not (channel_code = 'EMAIL' and is_rejected) then segments else 0
    end as traffic_out,
    case when is_outbound then 0 else segments end as traffic_in,
    (is_outbound and opens_interaction)::integer as interactions_out,
    (not is_outbound and opens_interaction)::integer as interactions_in,
    case when is_outbound then cost_cents else 0 end as cost_cents_out,
    case when is_outbound then 0 else cost_cents end as cost_cents_in,
    (is_outbound and channel_code = 'EMAIL' and not is_rejected)::integer as accepted,
    is_sent::integer as sent,
    (is_sent and not is_rejected)::integer as sent_not_rejected,
    is_rejected::integer as rejected,
    is_delivered::integer as delivered,
    -- a duration in whole seconds is below 5 just where the exact one is
    coalesce(time_to_deliver_seconds < 5, false)::integer as delivered_in_5_sec,
    (is_outbound and status_group in ('UNDELIVERABLE', 'EXPIRED', 'REJECTED'))::integer as failed,
    (bounce_type = 'SOFT')::integer as soft_bounced,
    (bounce_type = 'HARD')::integer as hard_bounced,
    is_dropped::integer as dropped,
    (is_dropped and is_suppression)::integer as suppressed,
    (opens > 0)::integer as opened_messages,
    opens::integer as opens,
    (clicks > 0)::integer as clicked_messages,
    clicks::integer as clicks,
    distinct_urls::integer as distinct_urls,
    is_unsubscribed::integer as unsubscribed,
    is_complained::integer as complained,

    ---------- by which a restatement finds them
    message_hash,
    interaction_hash
from durations
