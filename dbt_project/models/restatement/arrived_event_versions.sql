-- Of the events that arrived every version there is: an earlier one may name another message.
{% set window = restatement() %}
{{ config(
    materialized='found',
    table='raw.events',
    columns=['event_hash', 'message_hash', 'batch_id'],
) }}
select rowid as row_id from {{ source('raw', 'events') }} as events
{%- if window.everything %}
where false
{%- else %}
semi join (
    select event_hash from {{ source('raw', 'events') }} where {{ arrived(window) }}
) as arrived on events.event_hash = arrived.event_hash
{%- endif %}
