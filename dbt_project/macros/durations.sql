{% macro seconds_between(earlier, later) -%}
    {#- No greatest(): it passes over nulls, and an unknown duration would become 0. -#}
    case
        when {{ later }} >= {{ earlier }} then (epoch_us({{ later }}) - epoch_us({{ earlier }})) // 1000000
        when {{ later }} < {{ earlier }} then 0
    end
{%- endmacro %}


{% macro time_bucket(seconds) -%}
    {%- set buckets = var('time_buckets') -%}
    case
        {%- for bucket in buckets[1:] %}
        when {{ seconds }} < {{ bucket.seconds }} then '{{ loop.previtem.name if not loop.first else buckets[0].name }}'
        {%- endfor %}
        when {{ seconds }} is not null then '{{ buckets[-1].name }}'
    end
{%- endmacro %}
