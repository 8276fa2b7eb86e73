{{ config(
    materialized='restated',
    key='message_hash',
    touched='touched_messages',
    changes=true,
    post_hook="create or replace table {{ this.schema }}.applied_error_codes as select * from {{ ref('error_codes') }}",
) }}
-- depends_on: {{ ref('touched_messages') }}
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
        messages.*,
        coalesce(statuses.event_type, 'NONE') as event_type,
        case
            when not messages.is_outbound then 'DELIVERED_TO_HANDSET'
            else coalesce(statuses.status, 'PENDING_ENROUTE')
        end as status,
        case
            when not messages.is_outbound then 'DELIVERED'
            else coalesce(statuses.status_group, 'PENDING')
        end as status_group,
        coalesce(statuses.error_code, 'NO_ERROR') as error_code,
        case when statuses.message_key is null then 'OK' else statuses.error_group end as error_group,
        coalesce(statuses.bounce_type, 'NONE') as bounce_type,
        coalesce(statuses.is_suppression, false) as is_suppression,
        engagement.* exclude (message_key),
        messages.interaction_id is null or openers.message_key is not null as opens_interaction
    from messages
    left join {{ ref('int_current_statuses') }} as statuses
        on messages.outbound_message_key = statuses.message_key
    left join {{ ref('int_engagement_by_message') }} as engagement
        on messages.outbound_message_key = engagement.message_key
    left join {{ ref('int_interaction_openers') }} as openers
        on messages.message_key = openers.message_key

),

states as (

    select
        *,
        is_outbound and status_group = 'DELIVERED' as is_delivered,
        is_outbound and status_group = 'REJECTED' as is_rejected,
        is_outbound and event_type = 'DROPPED' as is_dropped,
        case when is_outbound and status_group = 'DELIVERED' then first_delivered_at end as delivered_at
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
    company_address as sender,
    sender_type,
    case when channel_code = 'EMAIL' then {{ email_domain('company_address') }} end as sender_domain,
    case when channel_code = 'EMAIL' then {{ email_domain('end_user_address') }} end as recipient_domain,
    communication_id as communication,
    campaign_reference_id as campaign_reference,
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
    case when is_outbound and currency = '{{ var("currency") }}' then cost_cents else 0 end as cost_cents_out,
    case when not is_outbound and currency = '{{ var("currency") }}' then cost_cents else 0 end as cost_cents_in,
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
    (coalesce(opens, 0) > 0)::integer as opened_messages,
    coalesce(opens, 0)::integer as opens,
    (coalesce(clicks, 0) > 0)::integer as clicked_messages,
    coalesce(clicks, 0)::integer as clicks,
    coalesce(distinct_urls, 0)::integer as distinct_urls,
    coalesce(is_unsubscribed, false)::integer as unsubscribed,
    coalesce(is_complained, false)::integer as complained,

    ---------- by which a restatement finds them
    message_hash,
    case
        when interaction_id is not null then {{ interaction_hash('account_key', 'interaction_id') }}
    end as interaction_hash
from durations
