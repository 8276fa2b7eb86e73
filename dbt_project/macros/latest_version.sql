{% macro latest_version(versions, repeated, key, hash, order_by) -%}
    {#- Most keys arrive once: only the others are worth a sort. They are found by the hash of the key,
        which is quicker; a hash that two keys share is sorted in vain. Null stands before any value. -#}
,

repeated as (

    select {{ hash }} from {{ repeated }}

),

latest as not materialized (

    select versions.*
    from {{ versions }} as versions
    anti join repeated on versions.{{ hash }} is not distinct from repeated.{{ hash }}

    union all

    select versions.*
    from {{ versions }} as versions
    semi join repeated on versions.{{ hash }} is not distinct from repeated.{{ hash }}
    qualify row_number() over (
        partition by versions.{{ key }}
        order by {% for column in order_by %}versions.{{ column }} desc nulls last{{ ", " if not loop.last }}{% endfor %}
    ) = 1

)
{%- endmacro %}


{% macro several_versions(records, hash) -%}
    select {{ hash }} from {{ records }} group by {{ hash }} having count(*) > 1
{%- endmacro %}
