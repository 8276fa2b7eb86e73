{#- What the tests of data_tests/ share. They take the marts from the catalogue, so none is left out. -#}

{% macro marts() -%}
    {{ return(var('dimensions') | map(attribute='mart') | unique | list) }}
{%- endmacro %}


{% macro differing_sums(compared, mart, found, expected, unit, keys=none) -%}
    {#- One grouping of both sides together, by the key alone. A side without the row sums to null. -#}
    {%- set keys = keys or mart_keys(mart) -%}
    {%- set measures = mart_measures(mart) | map(attribute='name') | list -%}
    select
        '{{ compared }}' as compared,
        period_start,
        account_key,
        channel_code,
        {{ keys[-1] }}::varchar as last_key,
        coalesce(bool_or(is_found), false) as is_found,
        coalesce(bool_or(not is_found), false) as is_expected
    from (
    {%- for relation in [found, expected] %}
        {%- set time = 'sent_at' if relation.identifier in ('messages', 'url_clicks') else 'period_start' %}
        select
            {{ loop.first | lower }} as is_found,
            date_trunc('{{ unit }}', {{ time }}) as period_start,
            {{ (keys + measures) | join(', ') }}
        from {{ relation }}
        {{- " union all" if not loop.last }}
    {%- endfor %}
    ) as both_sides
    group by period_start, {{ keys | join(', ') }}
    having
    {%- for measure in measures %}
        sum({{ measure }}) filter (is_found) is distinct from sum({{ measure }}) filter (not is_found)
        {{- " or" if not loop.last }}
    {%- endfor %}
{%- endmacro %}
