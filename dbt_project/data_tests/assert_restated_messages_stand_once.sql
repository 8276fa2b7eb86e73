-- However often a message is restated, it has one outcome.
{{ config(severity='error', meta={'dagster': {'ref': {'name': 'fct_messages'}}}) }}
-- depends_on: {{ ref('fct_messages') }}
{%- set restated = restated_rows('fct_messages') %}
select
    message_id,
    count(*) as copies
from {{ ref('fct_messages') }} as outcomes
{%- if restated != ref('fct_messages') %}
semi join {{ restated }} as restated on outcomes.message_hash = restated.message_hash
{%- endif %}
group by message_id
having count(*) > 1
