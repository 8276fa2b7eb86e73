-- The records of the touched messages' events, all versions. Empty when everything is touched.
{{ config(pre_hook="{{ find_by_position(true) }}", post_hook="{{ find_by_position(false) }}") }}
{{ records_at(source('raw', 'events'), ref('touched_event_positions')) }}
