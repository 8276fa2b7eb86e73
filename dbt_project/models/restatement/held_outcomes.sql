-- What the last run left of the directly touched messages. Empty when everything is touched.
{{ config(
    materialized='found',
    table='facts.fct_messages',
    columns=['message_hash', 'message_id', 'account_key', 'channel_code', 'direction', 'sent_at', 'status_group', 'interaction_hash'],
) }}
-- depends_on: {{ ref('directly_touched_messages') }}
{% if everything_is_touched() -%}
select null::bigint as row_id where false
{%- else -%}
select rowid as row_id from {{ held('fct_messages') }}
semi join {{ ref('directly_touched_messages') }} as touched using (message_hash)
{%- endif %}
