-- Events of which several versions came. Few do, so that only they need to be compared, or moved.
-- depends_on: {{ ref('arrived_event_versions') }}
{{ config(materialized='table') }}
{{ several_versions(source('raw', 'events') if everything_is_touched() else ref('arrived_event_versions'), 'event_hash') }}
