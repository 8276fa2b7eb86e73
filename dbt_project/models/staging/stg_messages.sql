-- depends_on: {{ ref('touched_message_records') }}
{{ config(materialized='view') }}
{%- set records = source('raw', 'messages') if everything_is_touched() else ref('touched_message_records') %}
with

canonical as not materialized (

    select *, {{ key_of('message') }} as message_key from {{ records }} where {{ source_rank() }} = {{ canonical_rank() }}

),

{#- What webhooks tell of one message is put together: each may know another part of it. Every part is
    the least or the greatest value that was told, so neither order nor repeats matter. -#}
told as not materialized (

    select
        any_value(message_id) as message_id,
        max(account_key) as account_key,
        coalesce(
            max(direction) filter (where {{ source_rank() }} = {{ known_rank() }}), max(direction)
        ) as direction,
        coalesce(
            max(channel_code) filter (where {{ source_rank() }} = {{ known_rank() }}), max(channel_code)
        ) as channel_code,
        min(sent_at) as sent_at,
        max(updated_at) as updated_at,
        max(sender) as sender,
        max(sender_type) as sender_type,
        max(recipient) as recipient,
        max(traffic_type) as traffic_type,
        max(interaction_id) as interaction_id,
        max(segments) as segments,
        max(struct_pack(cost_cents, currency)) filter (where cost_cents is not null) as price,
        max(communication_id) as communication_id,
        max(campaign_reference_id) as campaign_reference_id,
        max(country_id) as country_id,
        max(network_id) as network_id,
        max(application_id) as application_id,
        max(entity_id) as entity_id,
        any_value(message_hash) as message_hash,
        {{ key_of('message') }} as message_key
    from {{ records }} as messages
    where {{ source_rank() }} < {{ canonical_rank() }}
    group by message_key

),

{#- A record of messages/ stands before anything that webhooks tell of its message. -#}
outranked as not materialized (

    select message_key
    from canonical
    semi join (
        select message_hash from {{ records }} where {{ source_rank() }} < {{ canonical_rank() }}
    ) as told_hashes on canonical.message_hash = told_hashes.message_hash

),

versions as not materialized (

    select
        message_id, account_key, direction, channel_code, sent_at, updated_at, sender, sender_type,
        recipient, traffic_type, interaction_id, segments, cost_cents, currency, communication_id,
        campaign_reference_id, country_id, network_id, application_id, entity_id, message_hash, message_key
    from canonical
    union all
    select
        message_id, account_key, direction, channel_code, sent_at, updated_at, sender, sender_type,
        recipient, traffic_type, interaction_id, segments, price.cost_cents, price.currency, communication_id,
        campaign_reference_id, country_id, network_id, application_id, entity_id, message_hash, message_key
    from told
    anti join outranked on told.message_key = outranked.message_key

),

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
        message_hash,
        message_key
    from versions

){{ latest_version('arrived', ref('repeated_messages'), 'message_key', 'message_hash', [
    'updated_at', 'account_key', 'direction', 'channel_code', 'sent_at', 'sender', 'sender_type',
    'recipient', 'traffic_type', 'interaction_id', 'segments', 'cost_cents', 'currency',
    'communication_id', 'campaign_reference_id', 'country_id', 'network_id', 'application_id',
    'entity_id',
]) }}

select * from latest
