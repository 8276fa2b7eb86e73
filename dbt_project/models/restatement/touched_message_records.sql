-- The records of the touched messages, all versions. Empty when everything is touched.
{{ config(pre_hook="{{ find_by_position(true) }}", post_hook="{{ find_by_position(false) }}") }}
{{ records_at(source('raw', 'messages'), ref('touched_message_positions')) }}
