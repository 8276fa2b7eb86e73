{%- for dimension in var('dimensions') %}
select
    {{ loop.index }} as position,
    '{{ dimension.name }}' as dimension,
    '{{ dimension.name | lower }}' as column_name,
    '{{ dimension.type }}' as column_type,
    '{{ dimension.mart }}' as mart,
    {{ "'" ~ dimension.filter ~ "'" if dimension.filter else "null" }} as filter,
    '{{ dimension.description | replace("'", "''") }}' as description
union all
{%- endfor %}
{%- for dimension in var('time_dimensions') %}
select
    {{ loop.index + var('dimensions') | length }} as position,
    '{{ dimension.name }}' as dimension,
    'period_start' as column_name,
    'timestamp' as column_type,
    null as mart,
    null as filter,
    '{{ dimension.description }}' as description
{{ "union all" if not loop.last }}
{%- endfor %}
