-- A message changes its account by a correction alone: a version that says when it was made, later
-- than every record of another account. Otherwise two systems may be using one id. What a webhook
-- tells has the time of what it tells of, and corrects nothing.
{{ config(severity='warn', meta={'dagster': {'ref': {'name': 'stg_messages'}}}) }}
-- depends_on: {{ ref('stg_messages') }}, {{ ref('touched_message_records') }}
{%- set records = source('raw', 'messages') if everything_is_touched() else ref('touched_message_records') %}
with

contested as (

    select message_id
    from {{ records }}
    group by message_id
    having min(account_key) <> max(account_key)

),

claims as (

    select
        message_id,
        account_key,
        max(updated_at) filter (where {{ source_rank() }} = {{ canonical_rank() }}) as corrected_at,
        max(coalesce(updated_at, sent_at)) as claimed_at
    from {{ records }}
    where message_id in (select message_id from contested)
    group by message_id, account_key

),

last_claims as (

    select *
    from claims
    qualify claimed_at = max(claimed_at) over (partition by message_id)

)

select
    message_id,
    string_agg(account_key, ', ' order by account_key) as account_keys
from last_claims
group by message_id
having count(*) > 1 or bool_or(corrected_at is distinct from claimed_at)
