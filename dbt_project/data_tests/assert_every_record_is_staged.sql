-- Every id that a run looks at has its version that counts, and nothing else has one. An event that
-- moved from one message to another is staged with the last alone.
{{ config(severity='error', meta={'dagster': {'ref': {'name': 'stg_messages'}}}) }}
-- depends_on: {{ source('raw', 'messages') }}, {{ source('raw', 'events') }}
-- depends_on: {{ ref('touched_message_records') }}, {{ ref('touched_event_records') }}, {{ ref('moved_events') }}, {{ ref('touched_messages') }}
{%- set streams = [('message', 'message_id'), ('event', 'event_id'), ('account', 'account_key')] %}

{% for stream, key in streams %}
{%- if stream == 'account' or everything_is_touched() %}
{%- set records = source('raw', stream ~ 's') %}
{%- else %}
{%- set records = ref('touched_' ~ stream ~ '_records') %}
{%- endif %}
select
    '{{ stream }}s' as stream,
    coalesce(records.{{ key }}, staged.{{ key }}) as id,
    case when staged.{{ key }} is null then 'not staged' else 'never arrived' end as reason
from (
    select distinct {{ key }} from {{ records }}
    {%- if stream == 'event' and not everything_is_touched() %}
    where
        event_hash not in (select event_hash from {{ ref('moved_events') }})
        -- events of other messages are looked at for the sake of those that moved
        and message_hash in (select message_hash from {{ ref('touched_messages') }})
    {%- endif %}
) as records
full join (
    select {{ key }} from {{ ref('stg_' ~ stream ~ 's') }}
    {%- if stream == 'event' and not everything_is_touched() %}
    where event_hash not in (select event_hash from {{ ref('moved_events') }})
    {%- endif %}
) as staged on records.{{ key }} = staged.{{ key }}
where records.{{ key }} is null or staged.{{ key }} is null
{{ "union all" if not loop.last }}
{% endfor %}
