{%- for bucket in var('time_buckets') %}
select
    '{{ bucket.name }}' as time_bucket,
    {{ bucket.seconds }} as lower_seconds
{{ "union all" if not loop.last }}
{%- endfor %}
