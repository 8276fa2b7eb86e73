-- Where the events of the touched messages are, and those of messages that share an event with them:
-- only all versions of an event tell whose it is.
with

looked_up as (

    select message_hash from {{ ref('touched_messages') }}
    union
    select others.message_hash
    from {{ ref('moved_events') }} as others
    inner join {{ ref('moved_events') }} as moved on others.event_hash = moved.event_hash
    semi join {{ ref('touched_messages') }} as touched on moved.message_hash = touched.message_hash

)

{{ positions(source('raw', 'events'), 'looked_up', 'message_hash') }}
