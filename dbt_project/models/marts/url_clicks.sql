select *
from {{ ref('fct_url_clicks') }}
order by account_key, sent_at
