-- depends_on: {{ ref('arrived_event_versions') }}
-- depends_on: {{ ref('error_codes') }}
-- depends_on: {{ source('raw', 'messages') }}
-- The messages whose outcome may have changed, by hash. Empty when everything is touched.
{% set window = restatement() %}
{% if window.everything -%}
select null::ubigint as message_hash where false
{%- else -%}
with

directly as (

    select message_hash from {{ source('raw', 'messages') }} where {{ arrived(window) }}
    union
    select message_hash from {{ ref('arrived_event_versions') }}
    {%- if window.days %}
    union
    select message_hash from {{ source('raw', 'messages') }} where {{ in_days('sent_at', window.days) }}
    union
    select message_hash from {{ held('fct_messages') }} where {{ in_days('sent_at', window.days) }}
    {%- endif %}
    union
    -- a code whose group is another one by now
    select outcomes.message_hash
    from {{ held('fct_messages') }} as outcomes
    semi join (
        (
            select error_code, error_group from {{ ref('error_codes') }}
            except
            select error_code, error_group from {{ held('applied_error_codes') }}
        )
        union all
        (
            select error_code, error_group from {{ held('applied_error_codes') }}
            except
            select error_code, error_group from {{ ref('error_codes') }}
        )
    ) as changed on outcomes.error_code = changed.error_code

),

told_of as (

    select message_hash, account_key, interaction_id
    from {{ source('raw', 'messages') }}
    where
        {{ source_rank() }} < {{ canonical_rank() }}
        and message_hash in (
            select message_hash from {{ source('raw', 'messages') }}
            where {{ arrived(window) }} and {{ source_rank() }} < {{ canonical_rank() }}
        )

),

touched_interactions as (

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
    select outcomes.interaction_hash
    from {{ held('fct_messages') }} as outcomes
    semi join directly on outcomes.message_hash = directly.message_hash
    where outcomes.interaction_hash is not null

),

others as (

    select
        outcomes.interaction_hash,
        outcomes.message_hash,
        outcomes.message_id,
        outcomes.sent_at,
        outcomes.interactions_out + outcomes.interactions_in > 0 as is_opener
    from {{ held('fct_messages') }} as outcomes
    semi join touched_interactions on outcomes.interaction_hash = touched_interactions.interaction_hash
    anti join directly on outcomes.message_hash = directly.message_hash

)

select message_hash from directly
union
-- which message opens an interaction is settled between the touched ones, its opener so far, and the
-- earliest of the others
select message_hash from others where is_opener
union
select arg_min(message_hash, (sent_at, message_id)) from others group by interaction_hash
{%- endif %}
