{#- What stands for an id in joins and groups, which take several times as long by the id itself. -#}

{% macro key_of(id, prefix='') -%}
    ({{ prefix }}{{ id }}_hash * 18446744073709551616::uhugeint + {{ prefix }}{{ id }}_hash_rest)
{%- endmacro %}
