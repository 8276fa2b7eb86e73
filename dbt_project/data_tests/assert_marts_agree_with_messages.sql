-- Every row and every measure of the finest marts, summed anew. Daily marts are held against the
-- hourly ones elsewhere.
{{ config(severity='error', tags=['agreement'], meta={'dagster': {'ref': {'name': 'messages'}}}) }}

{% for mart in marts() %}
{{ rows_of_one_side_only(
    'hourly_by_' ~ mart, mart,
    kept_rows(ref('hourly_by_' ~ mart), mart),
    summed_rows(ref('url_clicks') if mart == 'url' else ref('messages'), mart, 'hour'),
) }}
union all
{% endfor %}
{{ rows_of_one_side_only(
    'minutely', 'account',
    kept_rows(ref('minutely'), 'account'),
    summed_rows(ref('messages'), 'account', 'minute'),
) }}
