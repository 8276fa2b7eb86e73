-- However often a message is restated, it has one outcome.
{{ config(severity='error', meta={'dagster': {'ref': {'name': 'fct_messages'}}}) }}
-- depends_on: {{ ref('touched_messages') }}
select
    message_id,
    count(*) as copies
from {{ ref('fct_messages') }} as outcomes
{%- if not everything_is_touched() %}
semi join {{ ref('touched_messages') }} as touched on outcomes.message_hash = touched.message_hash
{%- endif %}
group by message_id
having count(*) > 1
