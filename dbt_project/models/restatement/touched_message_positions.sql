-- Where the records of the touched messages are.
{{ positions(source('raw', 'messages'), ref('touched_messages'), 'message_hash') }}
