-- Null is a value of a mart's dimension, and of no other part of its key.
{{ config(severity='error', tags=['agreement'], meta={'dagster': {'ref': {'name': 'daily_by_account'}}}) }}
{%- set keys_of_tables = {'minutely': ['account_key', 'channel_code']} -%}
{%- for mart in marts() -%}
    {%- do keys_of_tables.update({'hourly_by_' ~ mart: mart_keys(mart), 'daily_by_' ~ mart: mart_keys(mart)}) -%}
{%- endfor %}
{%- set branches = [] -%}
{%- for table, keys in keys_of_tables.items() -%}
    {%- set branch %}
    select
        '{{ table }}' as mart,
        period_start,
        account_key,
        channel_code,
        {{ keys[-1] }}::varchar as last_key,
        count(*) as copies
    from {{ ref(table) }}
    group by period_start, {{ keys | join(', ') }}
    having count(*) > 1 or period_start is null or account_key is null or channel_code is null
    {%- endset -%}
    {%- do branches.append(branch) -%}
{%- endfor %}

{{ rows_of_any(branches) }}
