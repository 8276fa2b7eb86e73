-- Every row and every measure of the finest marts, summed anew. Daily marts are held against the
-- hourly ones elsewhere.
{{ config(severity='error', tags=['agreement'], meta={'dagster': {'ref': {'name': 'messages'}}}) }}
{%- set branches = [differing_sums('minutely', 'account', ref('minutely'), ref('messages'), 'minute')] -%}
{%- for mart in marts() -%}
    {%- set counted = ref('url_clicks') if mart == 'url' else ref('messages') -%}
    {%- do branches.append(differing_sums('hourly_by_' ~ mart, mart, ref('hourly_by_' ~ mart), counted, 'hour')) -%}
{%- endfor %}

{{ rows_of_any(branches) }}
