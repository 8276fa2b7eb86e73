{#- What the tests of data_tests/ share. They take the marts from the catalogue, so none is left out. -#}

{% macro marts() -%}
    {{ return(var('dimensions') | map(attribute='mart') | unique | list) }}
{%- endmacro %}


{% macro kept_rows(relation, mart) -%}
    select
            period_start,
            {{ mart_keys(mart) | join(', ') }},
            {{ mart_measures(mart) | map(attribute='name') | join(', ') }}
        from {{ relation }}
{%- endmacro %}


{% macro summed_rows(relation, mart, unit, time='sent_at', keys=none) -%}
    select
            date_trunc('{{ unit }}', {{ time }}) as period_start,
            {{ (keys or mart_keys(mart)) | join(', ') }},
            {{ summed_measures(mart) }}
        from {{ relation }}
        group by all
{%- endmacro %}


{% macro rows_of_one_side_only(compared, mart, found, expected, keys=none) -%}
    {#- One grouping of both sides, where EXCEPT in both directions would take two. Null equals null. -#}
    {%- set keys = keys or mart_keys(mart) -%}
    select
        '{{ compared }}' as compared,
        period_start,
        account_key,
        channel_code,
        {{ keys[-1] }}::varchar as last_key,
        case when sum(side) > 0 then 'found' else 'expected' end as only_in
    from (
        select *, 1 as side from (
        {{ found }}
        ) as found
        union all by name
        select *, -1 as side from (
        {{ expected }}
        ) as expected
    ) as both_sides
    group by
        period_start, {{ keys | join(', ') }},
        {{ mart_measures(mart) | map(attribute='name') | join(', ') }}
    having sum(side) <> 0
{%- endmacro %}
