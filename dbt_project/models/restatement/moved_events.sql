-- Events whose versions name different messages.
-- depends_on: {{ ref('arrived_event_versions') }}
-- depends_on: {{ source('raw', 'events') }}
{{ config(materialized='restated', key='event_hash') }}
select distinct
    event_hash,
    message_hash
from {{ source('raw', 'events') if everything_is_touched() else ref('arrived_event_versions') }}
semi join {{ ref('repeated_events') }} using (event_hash)
qualify min(message_hash) over (partition by event_hash) <> max(message_hash) over (partition by event_hash)
