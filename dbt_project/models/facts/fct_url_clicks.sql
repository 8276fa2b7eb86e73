{{ config(materialized='restated', key='message_hash', touched='touched_messages', changes=true) }}
-- depends_on: {{ ref('touched_messages') }}, {{ ref('carried_messages') }}
with

clicked as (

    select
        message_key,
        url,
        count(*)::integer as clicks
    from {{ ref('stg_events') }}
    where is_click
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
{%- if not everything_is_touched() %}

union all

-- what is held of the messages that are carried on, and what has come
select
    message_id,
    account_key,
    channel_code,
    url,
    sent_at,
    1 as clicked_messages,
    sum(clicks)::integer as clicks,
    message_hash
from (
    select messages.* exclude (message_key, direction), clicked.url, clicked.clicks
    from {{ ref('carried_messages') }} as messages
    inner join clicked on messages.message_key = clicked.message_key
    where messages.direction = 'OUTBOUND'
    union all by name
    select held.* exclude (row_id, clicked_messages)
    from {{ held_rows() }} as held
    semi join {{ ref('carried_messages') }} as messages on held.message_hash = messages.message_hash
) as held_and_come
group by message_id, account_key, channel_code, url, sent_at, message_hash
{%- endif %}
