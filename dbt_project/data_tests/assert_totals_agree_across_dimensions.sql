-- However they are cut, an account's messages on a channel in a period add up to the same. URL marts
-- hold a part of the messages, so they are held against the clicks.
{{ config(severity='error', tags=['agreement'], meta={'dagster': {'ref': {'name': 'daily_by_account'}}}) }}
{%- set keys = mart_keys('account') %}

{% for grain, unit in [('hourly', 'hour'), ('daily', 'day')] %}
{% for mart in marts() if mart != 'account' %}
{% set total = ref('url_clicks') if mart == 'url' else ref(grain ~ '_by_account') %}
{{ differing_sums(grain ~ '_by_' ~ mart, mart, ref(grain ~ '_by_' ~ mart), total, unit, keys=keys) }}
{{ "union all" if not loop.last }}
{% endfor %}
{{ "union all" if not loop.last }}
{% endfor %}
