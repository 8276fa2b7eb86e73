{{ config(materialized='restated', key='message_hash', touched='touched_messages', changes=true) }}
-- depends_on: {{ ref('touched_messages') }}
with

clicked as (

    select
        message_key,
        url,
        count(*)::integer as clicks
    from {{ ref('stg_events') }}
    where event_type = 'CLICKED' and not is_unsubscribe_link
    group by message_key, url

)

select
    messages.message_id,
    messages.account_key,
    messages.channel_code,
    clicked.url,
    messages.sent_at,
    1 as clicked_messages,
    clicked.clicks,
    messages.message_hash
from clicked
inner join {{ ref('stg_messages') }} as messages on clicked.message_key = messages.message_key
where messages.direction = 'OUTBOUND'
