{% macro latest_version(relation, key, order_by) -%}
    {#- Most keys arrive once: only the others are worth a sort. Null stands before any value. -#}
    select {{ relation }}.*
    from {{ relation }}
    semi join (
        select {{ key }} from {{ relation }} group by {{ key }} having count(*) = 1
    ) as single using ({{ key }})

    union all

    select {{ relation }}.*
    from {{ relation }}
    semi join (
        select {{ key }} from {{ relation }} group by {{ key }} having count(*) > 1
    ) as repeated using ({{ key }})
    qualify row_number() over (
        partition by {{ key }}
        order by {% for column in order_by %}{{ column }} desc nulls last{{ ", " if not loop.last }}{% endfor %}
    ) = 1
{%- endmacro %}
