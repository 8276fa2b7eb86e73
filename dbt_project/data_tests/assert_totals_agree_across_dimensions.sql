-- However messages are cut, they add up to the same for every account and channel: what the last run added to every
-- mart, or all that it holds if some mart was made anew. URL marts hold a part of the messages, so
-- they are held against the clicks.
{{ config(severity='error', meta={'dagster': {'ref': {'name': 'daily_by_account'}}}) }}
{%- for mart in marts() %}
-- depends_on: {{ ref('hourly_by_' ~ mart) }}, {{ ref('daily_by_' ~ mart) }}
{%- endfor %}
-- depends_on: {{ ref('messages') }}, {{ ref('url_clicks') }}

{%- set since = folded_since() %}

with

expected as (

    select
        account_key,
        channel_code,
        {{ summed_measures('channel') }}
    from {{ facts_since('messages', 'fct_messages', since) }}
    group by account_key, channel_code

),

expected_of_urls as (

    select
        account_key,
        channel_code,
        {{ summed_measures('url') }}
    from {{ facts_since('url_clicks', 'fct_url_clicks', since) }}
    group by account_key, channel_code

)

{% for grain in ['hourly', 'daily'] %}
{%- for mart in marts() %}
select
    '{{ grain }}_by_{{ mart }}' as mart,
    coalesce(expected.account_key, found.account_key) as account_key,
    coalesce(expected.channel_code, found.channel_code) as channel_code
from {{ 'expected_of_urls' if mart == 'url' else 'expected' }} as expected
full join (
    select
        account_key,
        channel_code,
        {{ summed_measures(mart) }}
    from {{ mart_since(grain ~ '_by_' ~ mart, since) }}
    group by account_key, channel_code
) as found
    on expected.account_key is not distinct from found.account_key
    and expected.channel_code is not distinct from found.channel_code
where
    {%- for measure in mart_measures(mart) %}
    {{ "or " if not loop.first }}expected.{{ measure.name }} is distinct from found.{{ measure.name }}
    {%- endfor %}
{{ "union all" if not loop.last }}
{%- endfor %}
{{ "union all" if not loop.last }}
{%- endfor %}
