{% macro seconds_between(earlier, later) -%}
    greatest(epoch_us({{ later }}) - epoch_us({{ earlier }}), 0) // 1000000
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
