-- Codes and ids that reference data lacks are kept, without a group or a name.
{{ config(severity='warn', meta={'dagster': {'ref': {'name': 'stg_messages'}}}) }}
{%- set codes = [
    ('status', 'stg_events', 'statuses'),
    ('error_code', 'stg_events', 'error_codes'),
    ('country_id', 'stg_messages', 'countries'),
    ('network_id', 'stg_messages', 'networks'),
] %}

{% for column, used_in, seed in codes %}
select
    '{{ column }}' as field,
    {{ column }}::varchar as code,
    count(*) as records
from {{ ref(used_in) }}
where {{ column }} is not null and {{ column }} not in (select {{ column }} from {{ ref(seed) }})
group by all
{{ "union all" if not loop.last }}
{% endfor %}
