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

),

-- Marts count, what is expected of them counts negative: of each measure nothing must be left. What
-- changes no measure may be on one side alone.
both_sides as (

    {% for grain in ['hourly', 'daily'] %}
    {%- for mart in marts() %}
    select
        '{{ grain }}_by_{{ mart }}' as mart,
        account_key,
        channel_code,
        {%- for measure in var('measures') %}
        {{ measure.name if measure in mart_measures(mart) else 0 }} as {{ measure.name }}{{ "," if not loop.last }}
        {%- endfor %}
    from {{ mart_since(grain ~ '_by_' ~ mart, since) }}
    union all
    {%- endfor %}
    {%- endfor %}
    {%- for expected, kind in [('expected', 'channel'), ('expected_of_urls', 'url')] %}
    select
        unnest([
            {%- for mart in marts() if (mart == 'url') == (kind == 'url') %}
            'hourly_by_{{ mart }}', 'daily_by_{{ mart }}'{{ "," if not loop.last }}
            {%- endfor %}
        ]) as mart,
        account_key,
        channel_code,
        {%- for measure in var('measures') %}
        {{ '-' ~ measure.name if measure in mart_measures(kind) else 0 }} as {{ measure.name }}{{ "," if not loop.last }}
        {%- endfor %}
    from {{ expected }}
    {{- " union all" if not loop.last }}
    {%- endfor %}

)

select
    mart,
    account_key,
    channel_code
from both_sides
group by mart, account_key, channel_code
having
    count({{ var('measures') | map(attribute='name') | join(' + ') }}) < count(*)  -- some measure is null
    {%- for measure in var('measures') %}
    or sum({{ measure.name }}) <> 0
    {%- endfor %}
