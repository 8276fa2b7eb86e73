-- The records of the touched messages' events: all versions, but of what is carried on those that arrived.
-- With them come the events of messages that share an event with one that is computed anew: only all
-- versions of an event tell whose it is. Empty when everything is touched.
{{ config(materialized='found', table='raw.events') }}
{%- set window = restatement() %}
with

computed as (

    select message_hash, is_new from {{ ref('touched_messages') }} where not is_carried

),

looked_up as (

    select message_hash from computed where not is_new
    union
    select others.message_hash
    from {{ ref('moved_events') }} as others
    inner join {{ ref('moved_events') }} as moved on others.event_hash = moved.event_hash
    semi join computed on moved.message_hash = computed.message_hash

)

select rowid as row_id from {{ source('raw', 'events') }}
semi join looked_up using (message_hash)
union
select rowid as row_id from {{ source('raw', 'events') }}
where
    {{ arrived(window) }}
    and message_hash in (select message_hash from {{ ref('touched_messages') }} where is_carried or is_new)
