select *
from {{ ref('fct_messages') }}
