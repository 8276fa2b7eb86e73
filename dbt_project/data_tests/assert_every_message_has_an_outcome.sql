-- No join on the way to the facts loses a message.
{{ config(severity='error', tags=['agreement'], meta={'dagster': {'ref': {'name': 'fct_messages'}}}) }}
select
    coalesce(arrived.message_id, outcomes.message_id) as message_id,
    case when outcomes.message_id is null then 'no outcome' else 'no message' end as reason
from (select distinct message_id from {{ source('raw', 'messages') }}) as arrived
full join {{ ref('fct_messages') }} as outcomes on arrived.message_id = outcomes.message_id
where arrived.message_id is null or outcomes.message_id is null
