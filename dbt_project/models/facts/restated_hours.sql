{{ config(materialized='incremental', incremental_strategy='append', on_schema_change='append_new_columns') }}
{%- set changes = held('fct_messages_changes') if table_exists('facts', 'fct_messages_changes') else none %}
-- depends_on: {{ ref('fct_messages') }}
with

changes as (

    {% if changes -%}
    select * from {{ changes }}
    {%- if is_incremental() %} where batch_id > (select coalesce(max(batch_id), 0) from {{ this }}){% endif %}
    {%- else -%}
    {{ no_changes(ref('fct_messages')) }}
    {%- endif %}

),

-- a message that stays in its hour, account and channel has a row of either sign there
by_message as (

    select
        batch_id,
        after_batch_id,
        date_trunc('hour', sent_at) as period_start,
        account_key,
        channel_code,
        message_id,
        sum(sign) as sign,
        {{ summed_measures('channel') }}
    from changes
    group by all

)

select
    batch_id,
    after_batch_id,
    period_start,
    account_key,
    channel_code,
    count(*) filter (sign > 0) as messages_added,
    count(*) filter (sign = 0) as messages_changed,
    count(*) filter (sign < 0) as messages_removed,
    {{ summed_measures('channel') }}
from by_message
group by all
