-- What recipients did, rolled up to the message before anything joins it, so nothing fans out.
select
    message_key,
    min(occurred_at) filter (event_type = 'DELIVERED') as first_delivered_at,
    min(occurred_at) filter (event_type in ('SEEN', 'OPENED')) as seen_at,
    min(occurred_at) filter (event_type = 'CLICKED' and not is_unsubscribe_link) as clicked_at,
    count(*) filter (event_type in ('SEEN', 'OPENED')) as opens,
    count(*) filter (event_type = 'CLICKED' and not is_unsubscribe_link) as clicks,
    count(distinct url) filter (event_type = 'CLICKED' and not is_unsubscribe_link) as distinct_urls,
    bool_or(event_type = 'UNSUBSCRIBED') as is_unsubscribed,
    bool_or(event_type = 'COMPLAINED') as is_complained
from {{ ref('stg_events') }}
where event_type in ('DELIVERED', 'SEEN', 'OPENED', 'CLICKED', 'UNSUBSCRIBED', 'COMPLAINED')
group by message_key
