-- depends_on: {{ ref('directly_touched_messages') }}, {{ ref('held_outcomes') }}, {{ ref('carriable_messages') }}
-- depends_on: {{ ref('interaction_members') }}
-- The messages whose outcome may have changed, by hash. Empty when everything is touched.
{% set window = restatement() %}
{% if window.everything -%}
select null::ubigint as message_hash, null::boolean as is_carried, null::boolean as is_new where false
{%- else -%}
with

directly as (

    select message_hash from {{ ref('directly_touched_messages') }}
    except
    select message_hash from {{ ref('carriable_messages') }}

),

others as (

    select members.*
    from {{ ref('interaction_members') }} as members
    anti join directly on members.message_hash = directly.message_hash

),

computed as (

    select message_hash from directly
    union
    -- which message opens an interaction is settled between the touched ones, its opener so far, and the
    -- earliest of the others
    select message_hash from others where is_opener
    union
    select arg_min(message_hash, (sent_at, message_id)) from others group by interaction_hash

),

known as (

    select message_hash from {{ ref('held_outcomes') }}
    union
    select message_hash from {{ ref('interaction_members') }}
    union
    select message_hash from {{ held('waiting_events') }}

)

select
    computed.message_hash,
    false as is_carried,
    {{ 'known.message_hash is null' if window.continues else 'false' }} as is_new
from computed
left join known on computed.message_hash = known.message_hash
union all
select
    carriable.message_hash,
    true as is_carried,
    false as is_new
from {{ ref('carriable_messages') }} as carriable
anti join computed on carriable.message_hash = computed.message_hash
{%- endif %}
