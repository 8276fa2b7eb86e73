-- What the last run left of the directly touched messages, and which batch that run came to. Empty when
-- everything is touched.
{{ config(
    materialized='found',
    table='facts.fct_messages',
    columns=['*', "(select batch_id from facts.marks where relation = 'fct_messages') as held_of_batch"],
) }}
-- depends_on: {{ ref('directly_touched_messages') }}
{% if everything_is_touched() -%}
select null::bigint as row_id where false
{%- else -%}
select rowid as row_id from {{ held('fct_messages') }}
semi join {{ ref('directly_touched_messages') }} as touched using (message_hash)
{%- endif %}
