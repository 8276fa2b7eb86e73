-- What is held of the messages of the touched interactions. Empty when everything is touched.
{{ config(
    materialized='found',
    table='facts.fct_messages',
    columns=['interaction_hash', 'message_hash', 'message_id', 'sent_at', 'interactions_out + interactions_in > 0 as is_opener'],
) }}
-- depends_on: {{ ref('touched_interactions') }}
{% if everything_is_touched() -%}
select null::bigint as row_id where false
{%- else -%}
select rowid as row_id from {{ held('fct_messages') }}
semi join {{ ref('touched_interactions') }} as touched using (interaction_hash)
{%- endif %}
