{#- Whether a raw record is canonical, or what a webhook tells, certainly or by a guess. The loader's
    ranks (`orchestration/webhooks/reading.py`). -#}

{% macro source_rank(prefix='') -%}
    coalesce({{ prefix }}source_rank, {{ canonical_rank() }})
{%- endmacro %}

{% macro canonical_rank() -%}2{%- endmacro %}

{% macro known_rank() -%}1{%- endmacro %}
