{#- What the tests of data_tests/ share. They take the marts from the catalogue, so none is left out. -#}

{% macro marts() -%}
    {{ return(var('dimensions') | map(attribute='mart') | unique | list) }}
{%- endmacro %}


{% macro rows_of_any(branches) -%}
    {#- What these statements select, together. DuckDB works on all branches of a UNION ALL at once, each
        with hash tables of its own: those of 45 marts took a gigabyte, however few rows there were. So
        each is asked by itself whether it selects any, and the test's own statement has those that do. -#}
    {%- set found = [] -%}
    {%- for branch in branches -%}
        {%- if not execute or flags.WHICH not in ('build', 'test')
            or run_query('select count(*) > 0 from (' ~ branch ~ ') as branch').rows[0][0] -%}
            {%- do found.append(branch) -%}
        {%- endif -%}
    {%- endfor -%}
    {{ found | join('\nunion all\n') if found else 'select * from (' ~ branches[0] ~ ') as none_of_all limit 0' }}
{%- endmacro %}


{% macro differing_sums(compared, mart, found, expected, unit, keys=none) -%}
    {#- What is expected counts negative, so that one grouping by the key alone compares both sides. -#}
    {%- set keys = keys or mart_keys(mart) -%}
    {%- set measures = mart_measures(mart) | map(attribute='name') | list -%}
    select
        '{{ compared }}' as compared,
        period_start,
        account_key,
        channel_code,
        {{ keys[-1] }}::varchar as last_key,
        max(side) = 1 as is_found,
        min(side) = -1 as is_expected
    from (
    {%- for relation, side in [(found, 1), (expected, -1)] %}
        {%- set time = 'sent_at' if relation.identifier in ('messages', 'url_clicks') else 'period_start' %}
        select
            {{ side }} as side,
            date_trunc('{{ unit }}', {{ time }}) as period_start,
            {{ keys | join(', ') }},
            {%- for measure in measures %}
            {{ "-" if side < 0 }}{{ measure }} as {{ measure }}{{ "," if not loop.last }}
            {%- endfor %}
        from {{ relation }}
        {{- " union all" if not loop.last }}
    {%- endfor %}
    ) as both_sides
    group by period_start, {{ keys | join(', ') }}
    having
        min(side) = max(side)
        {%- for measure in measures %}
        or sum({{ measure }}) <> 0
        {%- endfor %}
{%- endmacro %}


{% macro folded_since() -%}
    {#- The newest batch of the last build that ended well, at which all marts agreed; none if a mart was
        made anew since, or had days replaced, so that only the whole can be compared. -#}
    {%- set since = verified() -%}
    {%- if since is none -%}
        {{ return(none) }}
    {%- endif -%}
    {%- set row = run_query(
        "select max(rebuilt_batch_id), max(batch_id) from facts.marks"
        ~ " where relation like 'hourly_by_%' or relation like 'daily_by_%'"
    ).rows[0] -%}
    {%- if row[0] is none or row[0] > since or backfilled_days(since, row[1]) != [] -%}
        {{ return(none) }}
    {%- endif -%}
    {{ return(since) }}
{%- endmacro %}


{% macro facts_since(public, facts, since) -%}
    {%- if since is none -%}
        {{ ref(public) }}
    {%- else -%}
        (select * from {{ held(facts ~ '_changes') }} where batch_id > {{ since }})
    {%- endif -%}
{%- endmacro %}


{% macro mart_since(mart, since) -%}
    {#- Its parts, which sum to what it shows; to add them up by its keys first would take far longer. -#}
    {%- set parts = mart_parts(mart.replace('_by_account', '_by_channel')) -%}
    {%- if since is none -%}
        {{ parts if table_exists('parts', parts.identifier) else ref(mart) }}
    {%- else -%}
        (select * from {{ parts }} where batch_id > {{ since }})
    {%- endif -%}
{%- endmacro %}
