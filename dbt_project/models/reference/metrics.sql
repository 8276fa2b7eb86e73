{%- for metric in var('metrics') %}
select
    {{ loop.index }} as position,
    '{{ metric.name }}' as metric,
    '{{ metric.title }}' as title,
    '{{ metric.category }}' as category,
    '{{ metric.unit }}' as unit,
    '{{ metric.numerator | join(" + ") }}' as numerator,
    {{ "'" ~ metric.denominator | join(" + ") ~ "'" if metric.denominator else "null" }} as denominator,
    {{ (not metric.denominator) | lower }} as is_additive,
    {{ "true" if metric.bounded else "false" }} as is_bounded,
    {{ "true" if metric.url else "false" }} as has_url,
    '{{ metric.channels }}' as channels,
    '{{ metric.description | replace("'", "''") }}' as description
{{ "union all" if not loop.last }}
{%- endfor %}
