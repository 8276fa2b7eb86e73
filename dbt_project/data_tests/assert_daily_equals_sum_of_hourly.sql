-- Every row and every measure of every daily mart.
{{ config(severity='error', tags=['agreement'], meta={'dagster': {'ref': {'name': 'daily_by_account'}}}) }}
{%- set branches = [] -%}
{%- for mart in marts() -%}
    {%- do branches.append(
        differing_sums('daily_by_' ~ mart, mart, ref('daily_by_' ~ mart), ref('hourly_by_' ~ mart), 'day')
    ) -%}
{%- endfor %}

{{ rows_of_any(branches) }}
