select
    date_trunc('minute', sent_at) as period_start,
    account_key,
    channel_code,
    {{ summed_measures('channel') }}
from {{ ref('fct_messages') }}
group by all
