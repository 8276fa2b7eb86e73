-- The catalogue against the columns that the marts really have, in both directions.
{{ config(severity='error', meta={'dagster': {'ref': {'name': 'metrics'}}}) }}
{%- set other_columns = ['period_start', 'account_key', 'channel_code']
    + (var('dimensions') | map(attribute='name') | map('lower') | list)
    + (var('measures') | map(attribute='name') | list) %}
{% for mart in marts() %}
-- depends_on: {{ ref('hourly_by_' ~ mart) }}, {{ ref('daily_by_' ~ mart) }}
{%- endfor %}
with

marts as (

    select distinct
        grain || '_by_' || mart as mart,
        mart = 'url' as is_of_urls
    from {{ ref('dimensions') }}
    cross join (values ('hourly'), ('daily')) as grains (grain)
    where mart is not null

),

catalogued as (

    select
        marts.mart,
        lower(metrics.metric) as metric
    from {{ ref('metrics') }} as metrics
    inner join marts on metrics.has_url or not marts.is_of_urls

),

implemented as (

    select
        table_name as mart,
        column_name as metric
    from information_schema.columns
    where
        table_catalog = current_database()
        and table_schema = '{{ ref("hourly_by_account").schema }}'
        and (table_name like 'hourly_by_%' or table_name like 'daily_by_%')
        and column_name not in ('{{ other_columns | join("', '") }}')

)

select
    coalesce(catalogued.mart, implemented.mart) as mart,
    coalesce(catalogued.metric, implemented.metric) as metric,
    case when implemented.metric is null then 'not implemented' else 'not catalogued' end as reason
from catalogued
full join implemented
    on catalogued.mart = implemented.mart and catalogued.metric = implemented.metric
where catalogued.metric is null or implemented.metric is null
