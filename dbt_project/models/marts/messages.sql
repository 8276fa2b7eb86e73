select *
from {{ ref('fct_messages') }}
order by account_key, sent_at
