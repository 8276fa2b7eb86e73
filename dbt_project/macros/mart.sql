{#- How every mart is made. A mart file names its grain and its dimension, nothing more. -#}

{% macro hourly_mart(mart) -%}
with

measures as (

    {{ sums(mart, 'hour', 'sent_at', ref('fct_url_clicks') if mart == 'url' else ref('fct_messages')) | indent(4) }}

)

{{ named_metrics(mart) }}
{%- endmacro %}


{% macro daily_mart(mart) -%}
with

measures as (

    {{ sums(mart, 'day', 'period_start', ref('hourly_by_' ~ mart)) | indent(4) }}

)

{{ named_metrics(mart) }}
{%- endmacro %}


{% macro sums(mart, grain, time, relation, decimals=none, of_facts=false) -%}
select
    date_trunc('{{ grain }}', {{ time }}) as period_start,
    {%- for column in mart_keys(mart) %}
    {{ column }},
    {%- endfor %}
    {{ summed_measures(mart, decimals, of_facts) }}
from {{ relation }}
group by all
{%- endmacro %}


{% macro mart_keys(mart) -%}
    {#- Account and channel are keys of every mart: without its channel no metric has a meaning. -#}
    {%- set keys = ['account_key', 'channel_code'] -%}
    {%- for dimension in var('dimensions') if dimension.mart == mart and not dimension.name_of -%}
        {%- if dimension.name | lower not in keys -%}
            {%- do keys.append(dimension.name | lower) -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(keys) }}
{%- endmacro %}


{% macro mart_measures(mart) -%}
    {%- if mart == 'url' -%}
        {{ return(var('measures') | selectattr('from_url') | list) }}
    {%- endif -%}
    {{ return(var('measures')) }}
{%- endmacro %}


{% macro summed_measures(mart, decimals=none, of_facts=false) -%}
    {#- decimals: the type of those measures that are decimals, where it is not that of the catalogue.
        of_facts: every row is what a message counts for, not a change of that and no sum. Flags are counted
        there: a count is kept in half as many bytes as a sum, and is a bigint already. -#}
    {%- for measure in mart_measures(mart) -%}
        {%- if of_facts and measure.flag -%}
        count(nullif({{ measure.name }}, 0))
        {%- else -%}
        sum({{ measure.name }})::{{ (decimals or measure.type) if measure.type else 'bigint' }}
        {%- endif %} as {{ measure.name }}{{ ",\n        " if not loop.last }}
    {%- endfor -%}
{%- endmacro %}


{% macro named_metrics(mart) -%}
    {%- set names = var('dimensions') | selectattr('mart', 'equalto', mart) | selectattr('name_of') | list -%}
select
    measures.period_start,
    {%- for column in mart_keys(mart) %}
    measures.{{ column }},
    {%- endfor %}
    {%- for name in names %}
    {{ name.seed }}.{{ name.name | lower }},
    {%- endfor %}
    {%- for measure in mart_measures(mart) %}
    measures.{{ measure.name }},
    {%- endfor %}
    {{ metric_columns(mart) }}
from measures
{%- for name in names %}
left join {{ ref(name.seed) }} as {{ name.seed }} on measures.{{ name.name_of | lower }} = {{ name.seed }}.{{ name.name_of | lower }}
{%- endfor %}
{%- endmacro %}


{% macro metric_columns(mart) -%}
    {#- The only division in the project. -#}
    {%- set metrics = var('metrics') | selectattr('url') | list if mart == 'url' else var('metrics') -%}
    {%- for metric in metrics -%}
        {%- set numerator = (metric.url if mart == 'url' else metric.numerator) | join(' + ') -%}
        {%- if metric.denominator -%}
            {%- set value = '(' ~ numerator ~ ')::double / nullif(' ~ metric.denominator | join(' + ') ~ ', 0)' -%}
        {%- else -%}
            {%- set value = numerator -%}
        {%- endif -%}
        {%- if metric.channels == 'all' -%}
            {{ value }}
        {%- else -%}
            case when measures.channel_code in ('{{ var('channel_sets')[metric.channels] | join("', '") }}') then {{ value }} end
        {%- endif %} as {{ metric.name | lower }}{{ ",\n    " if not loop.last }}
    {%- endfor -%}
{%- endmacro %}
