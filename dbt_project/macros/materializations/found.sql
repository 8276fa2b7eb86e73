{#- Rows of a large table at the positions that the model selects as row_id. When everything is touched
    none are looked for. Positions are found and read in one transaction: in another one they may be
    those of other rows.

    table: where the rows are; columns: which of theirs, all if it is left out. -#}

{% materialization found, adapter='duckdb' -%}
    {%- set relation = load_cached_relation(this) -%}
    {%- set columns = config.get('columns', ['*']) | join(', ') -%}

    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}

    {%- call statement('main') -%}
        {%- if relation is not none %}
        drop {{ relation.type }} {{ relation }};
        {%- endif %}
        {%- if everything_is_touched() %}
        create table {{ this }} as {{ sql }};
        {%- else %}
        create or replace temp table found_positions as {{ positions(sql) }};
        {{ find_by_position(true) }};
        create table {{ this }} as {{ records_at(config.require('table'), 'found_positions', columns) }};
        {{ find_by_position(false) }};
        drop table found_positions;
        {%- endif %}
    {%- endcall -%}

    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {%- do persist_docs(this.incorporate(type='table'), model) -%}
    {{ adapter.commit() }}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return({'relations': [this.incorporate(type='table')]}) }}
{%- endmaterialization %}
