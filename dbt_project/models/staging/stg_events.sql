-- depends_on: {{ ref('touched_event_records') }}, {{ ref('touched_messages') }}, {{ ref('repeated_events') }}
{{ config(materialized='view') }}
{%- set records = source('raw', 'events') if everything_is_touched() else ref('touched_event_records') %}
{%- set repeated = ref('repeated_events') if everything_is_touched() else '(' ~ several_versions(records, 'event_hash') ~ ')' %}
with

arrived as not materialized (

    select
        events.event_id,
        events.message_id,
        events.event_type,
        events.occurred_at,
        reports.status,
        reports.error_code,
        reports.bounce_type,
        reports.drop_reason,
        reports.status_report,
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
    inner join {{ ref('stg_status_reports') }} as reports
        on
            events.event_type = reports.event_type
            and events.status is not distinct from reports.told_status
            and events.error_code is not distinct from reports.told_error_code
            and events.bounce_type is not distinct from reports.told_bounce_type
            and events.drop_reason is not distinct from reports.told_drop_reason

){{ latest_version('arrived', repeated, 'event_key', 'event_hash', [
    'source_rank', 'earliness', 'message_id', 'event_type', 'occurred_at', 'status', 'error_code', 'bounce_type',
    'drop_reason', 'url', 'is_unsubscribe_link',
]) }}

select
    * exclude (source_rank, earliness),
    event_type = 'CLICKED' and not is_unsubscribe_link as is_click
from latest
{%- if not everything_is_touched() %}
-- the version that counts of an event may be of a message that is not touched
where message_hash in (select message_hash from {{ ref('touched_messages') }})
{%- endif %}
