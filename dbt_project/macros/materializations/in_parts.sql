{#- A table that one large GROUP BY makes, in as many turns as the memory asks for: of what it keeps for a
    group DuckDB writes texts nowhere else.

    key: the column that is grouped by, of 128 evenly spread bits; a turn has a range of them, which DuckDB
    looks for before it groups. -#}

{% materialization in_parts, adapter='duckdb' -%}
    {%- set relation = load_cached_relation(this) -%}
    {%- set key = config.require('key') -%}
    {%- set parts = parts_for_memory() -%}

    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}

    {%- call statement('main') -%}
        {%- if relation is not none %}
        drop {{ relation.type }} {{ relation }};
        {%- endif %}
        {%- for part in range(parts) %}
        {{ 'create table ' ~ this ~ ' as' if loop.first else 'insert into ' ~ this }}
        {%- if parts == 1 %}
        {{ sql }};
        {%- else %}
        select * from (
        {{ sql }}
        ) as every_part
        where {{ key }} >= {{ part * (2 ** 128 // parts) }}::uhugeint
        {%- if not loop.last %} and {{ key }} < {{ (part + 1) * (2 ** 128 // parts) }}::uhugeint {%- endif %};
        {%- endif %}
        {%- endfor %}
    {%- endcall -%}

    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {%- do persist_docs(this.incorporate(type='table'), model) -%}
    {{ adapter.commit() }}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return({'relations': [this.incorporate(type='table')]}) }}
{%- endmaterialization %}


{% macro parts_for_memory() -%}
    {%- if not everything_is_touched() -%}
        {{ return(1) }}
    {%- endif -%}
    {%- set events = run_query('select count(*) from raw.events').rows[0][0] -%}
    {%- set limit = run_query("select current_setting('memory_limit')").rows[0][0].split(' ') -%}
    {%- set units = {'bytes': 1, 'KiB': 1024, 'MiB': 1024 ** 2, 'GiB': 1024 ** 3, 'TiB': 1024 ** 4} -%}
    {{ return([1, (events * var('bytes_of_a_grouped_event') / (limit[0] | float * units[limit[1]])) | round(0, 'ceil') | int] | max) }}
{%- endmacro %}
