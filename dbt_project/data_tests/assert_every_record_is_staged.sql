-- Every id that arrived has its version that counts, and nothing else has one.
{{ config(severity='error', tags=['agreement'], meta={'dagster': {'ref': {'name': 'stg_messages'}}}) }}
{%- set streams = [('messages', 'message_id'), ('events', 'event_id'), ('accounts', 'account_key')] %}

{% for stream, key in streams %}
select
    '{{ stream }}' as stream,
    coalesce(arrived.{{ key }}, staged.{{ key }}) as id,
    case when staged.{{ key }} is null then 'not staged' else 'never arrived' end as reason
from (select distinct {{ key }} from {{ source('raw', stream) }}) as arrived
full join {{ ref('stg_' ~ stream) }} as staged on arrived.{{ key }} = staged.{{ key }}
where arrived.{{ key }} is null or staged.{{ key }} is null
{{ "union all" if not loop.last }}
{% endfor %}
