-- However messages are cut, they add up to the same on every channel. URL marts hold a part of the
-- messages, so they are held against the clicks.
{{ config(severity='error', meta={'dagster': {'ref': {'name': 'daily_by_account'}}}) }}

with

expected as (

    select
        channel_code,
        {{ summed_measures('channel') }}
    from {{ ref('messages') }}
    group by channel_code

),

expected_of_urls as (

    select
        channel_code,
        {{ summed_measures('url') }}
    from {{ ref('url_clicks') }}
    group by channel_code

)

{% for grain in ['hourly', 'daily'] %}
{%- for mart in marts() %}
select
    '{{ grain }}_by_{{ mart }}' as mart,
    coalesce(expected.channel_code, found.channel_code) as channel_code
from {{ 'expected_of_urls' if mart == 'url' else 'expected' }} as expected
full join (
    select
        channel_code,
        {{ summed_measures(mart) }}
    from {{ ref(grain ~ '_by_' ~ mart) }}
    group by channel_code
) as found on expected.channel_code is not distinct from found.channel_code
where
    {%- for measure in mart_measures(mart) %}
    {{ "or " if not loop.first }}expected.{{ measure.name }} is distinct from found.{{ measure.name }}
    {%- endfor %}
{{ "union all" if not loop.last }}
{%- endfor %}
{{ "union all" if not loop.last }}
{%- endfor %}
