-- Every clicked URL is of a known message, and a message's clicks and URLs are those of its rows.
{{ config(severity='error', tags=['agreement'], meta={'dagster': {'ref': {'name': 'fct_url_clicks'}}}) }}
with

clicked_urls as (

    select
        message_id,
        sum(clicks) as clicks,
        sum(clicked_messages) as distinct_urls
    from {{ ref('fct_url_clicks') }}
    group by message_id

)

select
    coalesce(messages.message_id, clicked_urls.message_id) as message_id,
    messages.clicks as clicks_of_message,
    clicked_urls.clicks as clicks_of_urls,
    messages.distinct_urls as urls_of_message,
    clicked_urls.distinct_urls as urls_of_urls
from (select * from {{ ref('fct_messages') }} where clicks > 0) as messages
full join clicked_urls on messages.message_id = clicked_urls.message_id
where
    messages.clicks is distinct from clicked_urls.clicks
    or messages.distinct_urls is distinct from clicked_urls.distinct_urls
