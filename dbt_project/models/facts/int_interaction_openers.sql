-- The earliest message of each interaction, whatever its direction, channel or status.
select message_key
from {{ ref('stg_messages') }}
where interaction_id is not null
qualify row_number() over (
    partition by account_key, interaction_id
    order by sent_at, message_id
) = 1
