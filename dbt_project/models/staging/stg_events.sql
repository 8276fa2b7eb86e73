-- depends_on: {{ ref('touched_event_records') }}
-- depends_on: {{ ref('touched_messages') }}
{{ config(materialized='view') }}
-- depends_on: {{ ref('repeated_events') }}
{%- set records = source('raw', 'events') if everything_is_touched() else ref('touched_event_records') %}
{%- set repeated = ref('repeated_events') if everything_is_touched() else '(' ~ several_versions(records, 'event_hash') ~ ')' %}
with

arrived as not materialized (

    select
        events.event_id,
        events.message_id,
        events.event_type,
        events.occurred_at,
        case when event_types.bears_status then coalesce(events.status, event_types.default_status) end as status,
        case when event_types.bears_status then coalesce(events.error_code, 'NO_ERROR') end as error_code,
        case when events.event_type = 'BOUNCED' then events.bounce_type end as bounce_type,
        case when events.event_type = 'DROPPED' then coalesce(events.drop_reason, 'OTHER') end as drop_reason,
        case when events.event_type = 'CLICKED' then events.url end as url,
        case when events.event_type = 'CLICKED' then coalesce(events.is_unsubscribe_link, false) end as is_unsubscribe_link,
        {{ key_of('message', 'events.') }} as message_key,
        {{ key_of('event', 'events.') }} as event_key,
        events.message_hash,
        events.event_hash,
        {{ source_rank('events.') }} as source_rank,
        -- of a webhook that has no time of its own the first delivery says best when it happened
        case when {{ source_rank('events.') }} < {{ canonical_rank() }} then -epoch_us(events.occurred_at) end as earliness
    from {{ records }} as events
    inner join {{ ref('event_types') }} as event_types on events.event_type = event_types.event_type

){{ latest_version('arrived', repeated, 'event_key', 'event_hash', [
    'source_rank', 'earliness', 'message_id', 'event_type', 'occurred_at', 'status', 'error_code', 'bounce_type',
    'drop_reason', 'url', 'is_unsubscribe_link',
]) }}

select * exclude (source_rank, earliness) from latest
{%- if not everything_is_touched() %}
-- the version that counts of an event may be of a message that is not touched
where message_hash in (select message_hash from {{ ref('touched_messages') }})
{%- endif %}
