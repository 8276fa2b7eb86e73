-- What came in another currency counts as 0; here is what was left out.
{{ config(severity='warn', meta={'dagster': {'ref': {'name': 'stg_messages'}}}) }}
select
    account_key,
    currency,
    count(*) as messages,
    sum(cost_cents) as cents_left_out
from {{ ref('stg_messages') }}
where currency <> '{{ var("currency") }}'
group by account_key, currency
