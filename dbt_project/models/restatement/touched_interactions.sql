-- depends_on: {{ ref('directly_touched_messages') }}, {{ ref('held_outcomes') }}, {{ ref('carriable_messages') }}
-- depends_on: {{ source('raw', 'messages') }}
-- The interactions of which a message is computed anew. Empty when everything is touched.
{% set window = restatement() %}
{% if window.everything -%}
select null::uhugeint as interaction_hash where false
{%- else -%}
with

told_of as (

    select message_hash, account_key, interaction_id
    from {{ source('raw', 'messages') }}
    where
        {{ source_rank() }} < {{ canonical_rank() }}
        and message_hash in (
            select message_hash from {{ source('raw', 'messages') }}
            where {{ arrived(window) }} and {{ source_rank() }} < {{ canonical_rank() }}
        )

)

select {{ interaction_hash('account_key', 'interaction_id') }} as interaction_hash
from {{ source('raw', 'messages') }}
where {{ arrived(window) }} and interaction_id is not null
union
-- what webhooks tell is put together: the account may come from one of them, the interaction from another
select {{ interaction_hash('owners.account_key', 'members.interaction_id') }}
from told_of as owners
inner join told_of as members on owners.message_hash = members.message_hash
where members.interaction_id is not null
union
select held.interaction_hash
from {{ ref('held_outcomes') }} as held
anti join {{ ref('carriable_messages') }} as carriable on held.message_hash = carriable.message_hash
where held.interaction_hash is not null
{%- endif %}
