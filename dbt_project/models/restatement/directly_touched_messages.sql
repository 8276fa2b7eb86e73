-- depends_on: {{ ref('arrived_event_versions') }}
-- depends_on: {{ ref('error_codes') }}
-- depends_on: {{ source('raw', 'messages') }}
-- The messages that arrived records name, or a backfill, or reference data. Empty when everything is touched.
{% set window = restatement() %}
{% if window.everything -%}
select null::ubigint as message_hash, null::boolean as is_by_events_alone where false
{%- else -%}
select
    message_hash,
    bool_and(is_by_event) as is_by_events_alone
from (
    select message_hash, true as is_by_event from {{ ref('arrived_event_versions') }}
    union all
    select message_hash, false from {{ source('raw', 'messages') }} where {{ arrived(window) }}
    {%- if window.days %}
    union all
    select message_hash, false from {{ source('raw', 'messages') }} where {{ in_days('sent_at', window.days) }}
    union all
    select message_hash, false from {{ held('fct_messages') }} where {{ in_days('sent_at', window.days) }}
    {%- endif %}
    union all
    -- a code whose group is another one by now
    select outcomes.message_hash, false
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
) as touched
group by message_hash
{%- endif %}
