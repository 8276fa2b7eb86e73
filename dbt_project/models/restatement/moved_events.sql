-- depends_on: {{ ref('arrived_event_versions') }}
-- depends_on: {{ source('raw', 'events') }}
-- Events whose versions name different messages.
{{ config(materialized='restated', key='event_hash') }}
{%- set versions = source('raw', 'events') if everything_is_touched() else ref('arrived_event_versions') %}
with

moved as (

    select event_hash
    from {{ versions }}
    group by event_hash
    having min(message_hash) <> max(message_hash)

)

select distinct
    event_hash,
    message_hash
from {{ versions }}
semi join moved using (event_hash)
