select *
from {{ ref('fct_url_clicks') }}
