{#- A table of which a run replaces what the touched messages have there, and nothing else. The model
    selects the new rows of all that is touched. Of these and the held ones only the difference is
    written, here and, as signed rows, into <table>_changes; the mark goes with them. One transaction:
    a run that is killed has done all of it or nothing.

    key: the column by which held rows are found, a hash that several ids may share.
    touched: the relation that lists the touched keys, and which are new, so that nothing is held of
    them; without it, those of the new rows. With it the model may select from held_rows(), unless
    everything is touched.
    read_before: a model that has read held rows of touched keys already, and says of which batch; the
    others alone are read here.
    changes: whether signed rows are kept. -#}

{% materialization restated, adapter='duckdb' -%}
    {%- set existing = load_cached_relation(this) -%}
    {%- set window = restatement() -%}
    {%- set changes = this.incorporate(path={'identifier': this.identifier ~ '_changes'}) -%}
    {%- set key = config.require('key') -%}
    {%- set touched = '(select ' ~ key ~ ' from ' ~ ref(config.get('touched')) ~ ' where not is_new)' if config.get('touched') -%}

    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}

    {%- set mark = mark_of(this.identifier) -%}
    {%- set ns = namespace(is_alike=false) -%}
    {%- if existing is not none and existing.is_table and mark is not none -%}
        {%- call statement('new_rows') -%}
            {%- if touched and not window.everything %}
            {{ rows_held(this, touched, key, config.get('read_before'), mark.batch_id) }}
            {%- endif %}
            create or replace temp table restated_new as {{ sql }}
        {%- endcall -%}
        {%- set ns.is_alike = columns_of('temp', 'main', 'restated_new')
            == columns_of(this.database, this.schema, this.identifier) -%}
    {%- endif -%}

    {%- if not ns.is_alike and not window.everything -%}
        {%- do exceptions.raise_compiler_error(
            this ~ " has other columns than its model: run `msgmetrics run --full-refresh` to make it anew."
        ) -%}
    {%- endif -%}

    {%- call statement('main') -%}
        {%- if ns.is_alike -%}
            {{ difference_applied(this, changes, window, mark.batch_id, key, touched, config.get('changes', false)) }}
            {{ set_mark(this.identifier, window.upto, mark.rebuilt_batch_id, definition_of_outcomes()) }}
        {%- else -%}
            drop table if exists {{ this }};
            drop table if exists {{ changes }};
            create table {{ this }} as
            select * from ({{ sql }}) as model;
            {%- if config.get('changes', false) %}
            create table {{ changes }} as
            {{ no_changes(this) }};
            {%- endif %}
            {{ set_mark(this.identifier, window.upto, window.upto, definition_of_outcomes()) }}
        {%- endif -%}
    {%- endcall -%}

    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {%- if not ns.is_alike -%}
        {%- do persist_docs(this.incorporate(type='table'), model) -%}
    {%- endif -%}
    {{ adapter.commit() }}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return({'relations': [this.incorporate(type='table')]}) }}
{%- endmaterialization %}


{% macro rows_held(relation, touched, key, read_before=none, batch_id=none) -%}
    create or replace temp table restated_places as
    select rowid as row_id, {{ key }} from {{ relation }} semi join {{ touched }} as touched using ({{ key }});
    {%- if read_before %}
    -- Where they are may have changed since they were read, and a key may stand for several rows.
    create or replace temp table restated_read_before as
    select places.row_id, held.* exclude (held_of_batch)
    from (select * from restated_places qualify count(*) over (partition by {{ key }}) = 1) as places
    inner join (
        select * from {{ ref(read_before) }} where held_of_batch = {{ batch_id }} qualify count(*) over (partition by {{ key }}) = 1
    ) as held using ({{ key }});
    delete from restated_places where row_id in (select row_id from restated_read_before);
    {%- endif %}
    create or replace temp table restated_positions as
    {{ positions('select row_id from restated_places') }};
    {{ find_by_position(true) }};
    create or replace temp table restated_held as
    {{ records_at(relation, 'restated_positions', 'rowid as row_id, *') }};
    {{ find_by_position(false) }};
    {%- if read_before %}
    insert into restated_held by name select * from restated_read_before;
    drop table restated_read_before;
    {%- endif %}
    drop table restated_places;
    drop table restated_positions;
{%- endmacro %}


{% macro difference_applied(relation, changes, window, after, key, touched, keeps_changes) -%}
    {%- set columns = columns_of(relation.database, relation.schema, relation.identifier) | map('first') | list -%}
    {%- set measures = var('measures') | map(attribute='name') | list -%}
    {%- if window.everything %}
    create or replace temp table restated_held as select rowid as row_id, * from {{ relation }};
    {%- elif not touched %}
    {{ rows_held(relation, '(select distinct ' ~ key ~ ' from restated_new)', key) }}
    {%- endif %}
    -- How often a row stands among the new ones and not among the held; of a batch those alone are asked of
    -- whose keys anything is held. Grouping takes a fraction of the time of EXCEPT ALL, which sorts.
    create or replace temp table restated_difference as
    select {{ columns | join(', ') }}, sum(side)::bigint as surplus
    from (
        select *, 1 as side from restated_new
        {%- if not window.everything %}
        semi join restated_held using ({{ key }})
        {%- endif %}
        union all by name
        select * exclude (row_id), -1 as side from restated_held
    ) as both_sides
    group by {{ columns | join(', ') }}
    having sum(side) <> 0;
    {%- if keeps_changes %}
    {%- if window.upto == after %}
    -- marts know what they lack by the batch, and this one they have
    select error('Outcomes have changed, but no batch is new: run `msgmetrics run`, which opens one.')
    where exists (select * from {{ what_came(key, window) }}) or exists (select * from {{ surplus('-surplus') }});
    {%- endif %}
    create table if not exists {{ changes }} as
    {{ no_changes(relation) }};
    insert into {{ changes }} by name
    select {{ window.upto }} as batch_id, {{ after }} as after_batch_id, 1 as sign, * from {{ what_came(key, window) }}
    union all by name
    select
        {{ window.upto }} as batch_id,
        {{ after }} as after_batch_id,
        -1 as sign,
        * replace (
            {%- for column in columns if column in measures %}
            {{ ", " if not loop.first }}-{{ column }} as {{ column }}
            {%- endfor %}
        )
    from {{ surplus('-surplus') }};
    {%- endif %}
    delete from {{ relation }}
    where rowid in (
        select held.row_id
        from restated_held as held
        inner join (select rowid as removed_id, * from restated_difference where surplus < 0) as removed
            on {% for column in columns %}held.{{ column }} is not distinct from removed.{{ column }}{{ " and " if not loop.last }}{% endfor %}
        qualify row_number() over (partition by removed.removed_id) <= -removed.surplus
    );
    insert into {{ relation }} select * from {{ what_came(key, window) }};
    drop table restated_new;
    drop table restated_held;
    drop table restated_difference;
{%- endmacro %}


{% macro what_came(key, window) -%}
    (
        select * from {{ surplus('surplus') }}
        {%- if not window.everything %}
        union all by name
        select * from restated_new anti join restated_held using ({{ key }})
        {%- endif %}
    )
{%- endmacro %}


{% macro surplus(times) -%}
    {#- The rows that one side has and the other lacks, each as often as that. -#}
    (select * exclude (surplus, nth) from (select *, unnest(range({{ times }})) as nth from restated_difference))
{%- endmacro %}


{% macro no_changes(relation) -%}
    {#- The columns of the table of changes of this one. -#}
    select 0::integer as batch_id, 0::integer as after_batch_id, 0::tinyint as sign, * from {{ relation }} limit 0
{%- endmacro %}


{% macro columns_of(database, schema, name) -%}
    {%- set found = [] -%}
    {%- for row in run_query(
        "select column_name, data_type from duckdb_columns() where database_name = '" ~ database
        ~ "' and schema_name = '" ~ schema ~ "' and table_name = '" ~ name ~ "' order by column_index"
    ).rows -%}
        {%- do found.append((row[0], row[1])) -%}
    {%- endfor -%}
    {{ return(found) }}
{%- endmacro %}
