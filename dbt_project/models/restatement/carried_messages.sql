-- Messages whose held outcome is carried on: those that can, and that settle no interaction.
{{ config(materialized='view') }}
select *
from {{ ref('carriable_messages') }}
where message_hash in (select message_hash from {{ ref('touched_messages') }} where is_carried)
