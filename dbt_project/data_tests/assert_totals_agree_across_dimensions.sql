-- However they are cut, an account's messages on a channel in a period add up to the same. URL marts
-- hold a part of the messages, so they are held against the clicks.
{{ config(severity='error', tags=['agreement'], meta={'dagster': {'ref': {'name': 'messages'}}}) }}
{%- set keys = mart_keys('account') %}

{% for grain, unit in [('hourly', 'hour'), ('daily', 'day')] %}
{% for mart in marts() if mart not in ('account', 'url') %}
{{ rows_of_one_side_only(
    grain ~ '_by_' ~ mart, 'account',
    summed_rows(ref(grain ~ '_by_' ~ mart), mart, unit, time='period_start', keys=keys),
    kept_rows(ref(grain ~ '_by_account'), 'account'),
) }}
union all
{% endfor %}
{{ rows_of_one_side_only(
    grain ~ '_by_url', 'url',
    summed_rows(ref(grain ~ '_by_url'), 'url', unit, time='period_start', keys=keys),
    summed_rows(ref('url_clicks'), 'url', unit, keys=keys),
    keys=keys,
) }}
{{ "union all" if not loop.last }}
{% endfor %}
