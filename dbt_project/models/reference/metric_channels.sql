-- Which channel has which metric; a pair that is not here is "not available".
{%- for metric in var('metrics') %}
select
    '{{ metric.name }}' as metric,
    channel_code
from {{ ref('channels') }}
{%- if metric.channels != 'all' %}
where channel_code in ('{{ var('channel_sets')[metric.channels] | join("', '") }}')
{%- endif %}
{{ "union all" if not loop.last }}
{%- endfor %}
