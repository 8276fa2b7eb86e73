-- The records of the messages that are computed anew, all versions. Empty when everything is touched.
{{ config(materialized='found', table='raw.messages') }}
{%- set window = restatement() %}
select rowid as row_id from {{ source('raw', 'messages') }}
semi join (
    select message_hash from {{ ref('touched_messages') }} where not is_new and not is_carried
) as touched using (message_hash)
union
select rowid as row_id from {{ source('raw', 'messages') }}
where {{ arrived(window) }} and message_hash in (select message_hash from {{ ref('touched_messages') }} where is_new)
