{% macro email_domain(address) -%}
    lower(nullif(regexp_extract(
        case
            when regexp_matches({{ address }}, '<[^>]*>')
                then regexp_extract({{ address }}, '(?s)^.*<([^>]*)>', 1)
            else {{ address }}
        end,
        '@([^@]*)$', 1
    ), ''))
{%- endmacro %}
