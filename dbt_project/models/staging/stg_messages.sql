-- depends_on: {{ ref('touched_message_records') }}
{{ config(materialized='view') }}
{%- set records = source('raw', 'messages') if everything_is_touched() else ref('touched_message_records') %}
with

arrived as not materialized (

    select
        message_id,
        account_key,
        direction,
        channel_code,
        sent_at,
        coalesce(updated_at, sent_at) as updated_at,
        sender,
        case
            when channel_code in ('SMS', 'MMS') then sender_type
            when channel_code = 'EMAIL' then coalesce(sender_type, 'DOMAIN')
            else channel_code
        end as sender_type,
        recipient,
        traffic_type,
        interaction_id,
        coalesce(segments, 1) as segments,
        coalesce(cost_cents, 0) as cost_cents,
        coalesce(currency, '{{ var("currency") }}') as currency,
        communication_id,
        campaign_reference_id,
        country_id,
        network_id,
        application_id,
        entity_id,
        message_hash
    from {{ records }} as messages

){{ latest_version('arrived', records, 'message_id', 'message_hash', [
    'updated_at', 'account_key', 'direction', 'channel_code', 'sent_at', 'sender', 'sender_type',
    'recipient', 'traffic_type', 'interaction_id', 'segments', 'cost_cents', 'currency',
    'communication_id', 'campaign_reference_id', 'country_id', 'network_id', 'application_id',
    'entity_id',
]) }}

select * from latest
