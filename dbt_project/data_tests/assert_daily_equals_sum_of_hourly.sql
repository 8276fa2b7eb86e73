-- Every row and every measure of every daily mart.
{{ config(severity='error', tags=['agreement'], meta={'dagster': {'ref': {'name': 'messages'}}}) }}

{% for mart in marts() %}
{{ rows_of_one_side_only(
    'daily_by_' ~ mart, mart,
    kept_rows(ref('daily_by_' ~ mart), mart),
    summed_rows(ref('hourly_by_' ~ mart), mart, 'day', time='period_start'),
) }}
{{ "union all" if not loop.last }}
{% endfor %}
