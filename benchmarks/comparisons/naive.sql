-- All marts as an ordinary analyst would write them: row_number() picks versions, dimensions are
-- texts, each mart is one GROUP BY over the outcome. The tables `arrived_messages`, `arrived_events`
-- and those of the reference data are there; so is the macro time_bucket(seconds).

create table stg_messages as
select * exclude (version)
from (
    select
        *,
        row_number() over (
            partition by message_id
            order by
                updated_at desc nulls last, account_key desc, direction desc, channel_code desc,
                sent_at desc, sender desc nulls last, sender_type desc nulls last,
                recipient desc nulls last, traffic_type desc nulls last,
                interaction_id desc nulls last, segments desc nulls last,
                cost_cents desc nulls last, currency desc nulls last,
                communication_id desc nulls last, campaign_reference_id desc nulls last,
                country_id desc nulls last, network_id desc nulls last,
                application_id desc nulls last, entity_id desc nulls last
        ) as version
    from (
        select
            * replace (
                coalesce(updated_at, sent_at) as updated_at,
                case
                    when channel_code in ('SMS', 'MMS') then sender_type
                    when channel_code = 'EMAIL' then coalesce(sender_type, 'DOMAIN')
                    else channel_code
                end as sender_type,
                coalesce(segments, 1) as segments,
                coalesce(cost_cents, 0) as cost_cents,
                coalesce(currency, 'USD') as currency
            )
        from arrived_messages
    )
)
where version = 1;

create table stg_events as
select * exclude (version)
from (
    select
        *,
        row_number() over (
            partition by event_id
            order by
                message_id desc, event_type desc, occurred_at desc, status desc nulls last,
                error_code desc nulls last, bounce_type desc nulls last,
                drop_reason desc nulls last, url desc nulls last,
                is_unsubscribe_link desc nulls last
        ) as version
    from (
        select
            events.event_id,
            events.message_id,
            events.event_type,
            events.occurred_at,
            case when bears_status then coalesce(status, default_status) end as status,
            case when bears_status then coalesce(error_code, 'NO_ERROR') end as error_code,
            case when events.event_type = 'BOUNCED' then bounce_type end as bounce_type,
            case when events.event_type = 'DROPPED' then coalesce(drop_reason, 'OTHER') end as drop_reason,
            case when events.event_type = 'CLICKED' then url end as url,
            case when events.event_type = 'CLICKED' then coalesce(is_unsubscribe_link, false) end as is_unsubscribe_link,
            bears_status,
            is_final,
            precedence,
            status_group
        from arrived_events as events
        join event_types using (event_type)
    )
)
where version = 1;

create table current_statuses as
select *
from (
    select
        message_id,
        event_type,
        status,
        status_group,
        error_code,
        error_group,
        bounce_type,
        coalesce(is_suppression, false) as is_suppression,
        row_number() over (
            partition by message_id
            order by is_final desc, occurred_at desc, precedence desc, event_id desc
        ) as position
    from stg_events
    left join error_codes using (error_code)
    left join drop_reasons using (drop_reason)
    where bears_status
)
where position = 1;

create table engagement as
select
    message_id,
    min(case when event_type = 'DELIVERED' then occurred_at end) as first_delivered_at,
    min(case when event_type in ('SEEN', 'OPENED') then occurred_at end) as seen_at,
    min(case when event_type = 'CLICKED' and not is_unsubscribe_link then occurred_at end) as clicked_at,
    sum(case when event_type in ('SEEN', 'OPENED') then 1 else 0 end) as opens,
    sum(case when event_type = 'CLICKED' and not is_unsubscribe_link then 1 else 0 end) as clicks,
    count(distinct case when event_type = 'CLICKED' and not is_unsubscribe_link then url end) as distinct_urls,
    max(case when event_type = 'UNSUBSCRIBED' then 1 else 0 end) as unsubscribed,
    max(case when event_type = 'COMPLAINED' then 1 else 0 end) as complained
from stg_events
group by message_id;

create table openers as
select message_id
from (
    select
        message_id,
        row_number() over (
            partition by account_key, interaction_id order by sent_at, message_id
        ) as position
    from stg_messages
    where interaction_id is not null
)
where position = 1;

create table outcomes as
with

joined as (
    select
        messages.*,
        direction = 'OUTBOUND' as is_out,
        case when direction = 'OUTBOUND' then sender else recipient end as our_address,
        case when direction = 'OUTBOUND' then recipient else sender end as their_address,
        coalesce(statuses.event_type, 'NONE') as event_type,
        case when direction = 'INBOUND' then 'DELIVERED_TO_HANDSET' else coalesce(status, 'PENDING_ENROUTE') end as status,
        case when direction = 'INBOUND' then 'DELIVERED' else coalesce(status_group, 'PENDING') end as status_group,
        coalesce(error_code, 'NO_ERROR') as error_code,
        case when statuses.message_id is null then 'OK' else error_group end as error_group,
        coalesce(bounce_type, 'NONE') as bounce_type,
        coalesce(is_suppression, false) as is_suppression,
        first_delivered_at,
        seen_at,
        clicked_at,
        coalesce(opens, 0) as opens,
        coalesce(clicks, 0) as clicks,
        coalesce(distinct_urls, 0) as distinct_urls,
        coalesce(unsubscribed, 0) as unsubscribed,
        coalesce(complained, 0) as complained,
        interaction_id is null or openers.message_id is not null as opens_interaction
    -- a condition on the direction in the joins would make DuckDB compare every row with every other
    from (
        select *, case when direction = 'OUTBOUND' then message_id end as outbound_id
        from stg_messages
    ) as messages
    left join current_statuses as statuses on statuses.message_id = messages.outbound_id
    left join engagement on engagement.message_id = messages.outbound_id
    left join openers on openers.message_id = messages.message_id
),

states as (
    select
        *,
        is_out and status_group = 'DELIVERED' as is_delivered,
        is_out and status_group = 'REJECTED' as is_rejected,
        is_out and event_type = 'DROPPED' as is_dropped,
        case when is_out and status_group = 'DELIVERED' then first_delivered_at end as delivered_at
    from joined
),

durations as (
    select
        *,
        is_out and (channel_code <> 'EMAIL' or not (is_rejected or is_dropped)) as is_sent,
        seconds_from(sent_at, delivered_at) as time_to_deliver_seconds,
        seconds_from(seen_at, clicked_at) as time_to_click_from_seen_seconds,
        seconds_from(delivered_at, clicked_at) as time_to_click_from_delivered_seconds,
        seconds_from(delivered_at, seen_at) as time_to_seen_from_delivered_seconds
    from states
)

select
    message_id,
    account_key,
    channel_code,
    direction,
    traffic_type,
    our_address as sender,
    sender_type,
    case when channel_code = 'EMAIL' then domain_of(our_address) end as sender_domain,
    case when channel_code = 'EMAIL' then domain_of(their_address) end as recipient_domain,
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
    time_bucket(time_to_deliver_seconds) as time_to_deliver,
    time_bucket(time_to_click_from_seen_seconds) as time_to_click_from_seen,
    time_bucket(time_to_click_from_delivered_seconds) as time_to_click_from_delivered,
    time_bucket(time_to_seen_from_delivered_seconds) as time_to_seen_from_delivered,
    sent_at,
    delivered_at,
    seen_at,
    clicked_at,
    time_to_deliver_seconds,
    time_to_click_from_seen_seconds,
    time_to_click_from_delivered_seconds,
    time_to_seen_from_delivered_seconds,
    case when is_out then 1 else 0 end as messages_out,
    case when is_out then 0 else 1 end as messages_in,
    case when is_out and not (channel_code = 'EMAIL' and is_rejected) then segments else 0 end as traffic_out,
    case when is_out then 0 else segments end as traffic_in,
    case when is_out and opens_interaction then 1 else 0 end as interactions_out,
    case when not is_out and opens_interaction then 1 else 0 end as interactions_in,
    case when is_out and currency = 'USD' then cost_cents else 0 end as cost_cents_out,
    case when not is_out and currency = 'USD' then cost_cents else 0 end as cost_cents_in,
    case when is_out and channel_code = 'EMAIL' and not is_rejected then 1 else 0 end as accepted,
    case when is_sent then 1 else 0 end as sent,
    case when is_sent and not is_rejected then 1 else 0 end as sent_not_rejected,
    case when is_rejected then 1 else 0 end as rejected,
    case when is_delivered then 1 else 0 end as delivered,
    case when time_to_deliver_seconds < 5 then 1 else 0 end as delivered_in_5_sec,
    case when is_out and status_group in ('UNDELIVERABLE', 'EXPIRED', 'REJECTED') then 1 else 0 end as failed,
    case when bounce_type = 'SOFT' then 1 else 0 end as soft_bounced,
    case when bounce_type = 'HARD' then 1 else 0 end as hard_bounced,
    case when is_dropped then 1 else 0 end as dropped,
    case when is_dropped and is_suppression then 1 else 0 end as suppressed,
    case when opens > 0 then 1 else 0 end as opened_messages,
    opens,
    case when clicks > 0 then 1 else 0 end as clicked_messages,
    clicks,
    distinct_urls,
    unsubscribed,
    complained
from durations;

create table url_clicks as
select
    messages.message_id,
    messages.account_key,
    messages.channel_code,
    url,
    messages.sent_at,
    1 as clicked_messages,
    count(*) as clicks
from stg_events
join stg_messages as messages using (message_id)
where direction = 'OUTBOUND' and event_type = 'CLICKED' and not is_unsubscribe_link
group by all;
