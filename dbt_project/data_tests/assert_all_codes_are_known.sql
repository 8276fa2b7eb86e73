-- Codes and ids that reference data lacks are kept, without a group or a name.
{{ config(severity='warn', meta={'dagster': {'ref': {'name': 'stg_messages'}}}) }}
{%- set codes = [
    ('status', 'of_events', 'statuses'),
    ('error_code', 'of_events', 'error_codes'),
    ('country_id', 'of_messages', 'countries'),
    ('network_id', 'of_messages', 'networks'),
] %}
-- Each view is read once: to find the version of each record that counts is the work here.
with

of_events as materialized (

    select status, error_code, count(*) as records from {{ ref('stg_events') }} group by all

),

of_messages as materialized (

    select country_id, network_id, count(*) as records from {{ ref('stg_messages') }} group by all

)

{% for column, used, seed in codes %}
select
    '{{ column }}' as field,
    {{ column }}::varchar as code,
    sum(records)::bigint as records
from {{ used }}
where {{ column }} is not null and {{ column }} not in (select {{ column }} from {{ ref(seed) }})
group by all
{{ "union all" if not loop.last }}
{% endfor %}
