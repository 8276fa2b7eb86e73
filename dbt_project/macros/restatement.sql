{#- What a run restates: which batches it takes in, and where their records are. How the difference
    is applied stands in materializations/. -#}

{% macro begin_restatement() -%}
    {#- Settled once, at the start of a run, for all its models and tests. -#}
    {%- if not execute or flags.WHICH not in ('build', 'run') -%}
        {{ return('') }}
    {%- endif -%}
    {%- do run_query(create_marks()) -%}
    {#- What earlier releases made on the way, and no model makes any more. -#}
    {%- for name in ['int_current_statuses', 'int_engagement_by_message'] -%}
        {%- do run_query('drop table if exists facts.' ~ name) -%}
    {%- endfor -%}
    {%- set upto = run_query('select coalesce(max(batch_id), 0) from raw.batches').rows[0][0] -%}
    {%- set restated = graph.nodes.values()
        | selectattr('resource_type', 'equalto', 'model')
        | selectattr('config.materialized', 'equalto', 'restated')
        | map(attribute='name') | list -%}
    {%- set marks = run_query(
        "select case when count(*) = " ~ restated | length ~ " then min(batch_id) end, max(batch_id) from facts.marks"
        ~ " where relation in ('" ~ restated | join("', '") ~ "')"
        ~ " and definition = '" ~ definition_of_outcomes() ~ "'"
        ~ " and relation in (select table_name from information_schema.tables where table_catalog = current_database())"
    ).rows[0] -%}
    {%- set after = marks[0] -%}
    {#- What no build has verified yet is touched again, so that the tests of its records come again. -#}
    {%- set since = verified() -%}
    {%- set after = [after, since] | min if after is not none and since is not none else none -%}
    {%- set days = backfilled_days(after, upto) if after is not none else none -%}
    {%- do run_query(set_mark('decimals', 'null', 'null', type_of_summed_costs())) -%}
    create or replace table facts.restatement as
    select
        {{ (days is none) | lower }} as everything,
        -- whether every table holds just what came up to the first of these batches
        {{ (days is not none and after == marks[1]) | lower }} as continues,
        {{ after if after is not none else 'null' }}::integer as after_batch_id,
        {{ upto }}::integer as upto_batch_id;
    comment on table facts.restatement is 'What the last run restated: the batches above one, up to another. One row.';
    {%- if days is not none %}
    -- what is touched needs little; more would go to blocks of the file, which the system caches anyway
    set memory_limit = '{{ env_var('MSGMETRICS_BATCH_MEMORY', '1400MiB') }}';
    {%- elif env_var('MSGMETRICS_MOST_MEBIBYTES', '') %}
    {%- set millions = run_query('select count(*) from raw.messages').rows[0][0] / 1000000 %}
    set memory_limit = '{{ [env_var('MSGMETRICS_MOST_MEBIBYTES') | int, (2048 + 200 * millions) | int] | min }}MiB';
    {%- endif %}
{%- endmacro %}


{% macro type_of_summed_costs() -%}
    {#- A sum of any of them has 18 digits if all together have, and they have in all but made-up data. What
        is known without reading them says so nearly always. Once they had more it stays at that. -#}
    {%- set mark = mark_of('decimals') -%}
    {%- if mark is none or mark.definition == 'decimal(18, 6)' -%}
        {%- set at_most = run_query('select coalesce(max(cost_cents)::double * count(*), 0) from raw.messages').rows[0][0] -%}
        {%- if at_most < 9e11 or run_query('select sum(cost_cents) < 1e12::decimal(38, 6) from raw.messages').rows[0][0] -%}
            {{ return('decimal(18, 6)') }}
        {%- endif -%}
    {%- endif -%}
    {{ return('decimal(38, 6)') }}
{%- endmacro %}


{% macro restatement() -%}
    {%- if not execute or not table_exists('facts', 'restatement') -%}
        {{ return({'everything': true, 'continues': false, 'after': 0, 'upto': 0, 'days': []}) }}
    {%- endif -%}
    {%- set row = run_query(
        'select everything, continues, coalesce(after_batch_id, 0), upto_batch_id from facts.restatement'
    ).rows[0] -%}
    {{ return({
        'everything': row[0],
        'continues': row[1],
        'after': row[2],
        'upto': row[3],
        'days': [] if row[0] else backfilled_days(row[2], row[3]),
    }) }}
{%- endmacro %}


{% macro everything_is_touched() -%}
    {{ return(restatement().everything) }}
{%- endmacro %}


{% macro backfilled_days(after, upto) -%}
    {%- set days = [] -%}
    {%- for row in run_query(
        "select from_day::varchar, to_day::varchar from raw.batches where cause = 'backfill' and batch_id > "
        ~ after ~ " and batch_id <= " ~ upto
    ).rows -%}
        {%- if row[0] is none -%}
            {{ return(none) }}
        {%- endif -%}
        {%- do days.append((row[0], row[1])) -%}
    {%- endfor -%}
    {{ return(days) }}
{%- endmacro %}


{% macro in_days(column, days) -%}
    (
    {%- for first, last in days %}
        ({{ column }} >= date '{{ first }}' and {{ column }} < date '{{ last }}' + interval 1 day)
        {{- " or" if not loop.last }}
    {%- else %}
        false
    {%- endfor %}
    )
{%- endmacro %}


{% macro arrived(window) -%}
    batch_id > {{ window.after }} and batch_id <= {{ window.upto }}
{%- endmacro %}


{% macro positions(row_ids) -%}
    {#- Of these rows, which are scattered: the oldest, as many as still leave half of the table's vectors
        unread, but none of those that lie close together at its end. -#}
    select
        row_id,
        row_number() over by_age <= least(max(row_id) over () // 4096, {{ most_scattered() }})
        and max(row_id) over () - row_id > 4 * (count(*) over () - row_number() over by_age + 1) as is_scattered
    from ({{ row_ids }}) as row_ids
    window by_age as (order by row_id)
{%- endmacro %}


{% macro records_at(relation, positions, columns='*') -%}
    {#- DuckDB reads what lies between the first and the last position, unless they are few enough for a
        list. So the scattered old rows are found by such a list, the recent ones by their range. A list is
        held against every vector, so that one of many recent rows would cost more than to read them. -#}
    select {{ columns }} from {{ relation }}
    where rowid in (select row_id from {{ positions }} where is_scattered)
    union all
    select {{ columns }} from {{ relation }}
    where rowid in (select row_id from {{ positions }} where not is_scattered)
{%- endmacro %}


{% macro most_scattered() -%}
    20000
{%- endmacro %}


{% macro find_by_position(is_on) -%}
    {#- For the statement that reads positions alone: in any other such lists cost more than they save. -#}
    {{ "set dynamic_or_filter_threshold = " ~ most_scattered() if is_on else "reset dynamic_or_filter_threshold" }}
{%- endmacro %}


{% macro held(name) -%}
    {#- What the last run left of a model that is made later in this one. No ref: it would be a cycle. -#}
    {{ return(api.Relation.create(database=target.database, schema='facts', identifier=name)) }}
{%- endmacro %}


{% macro held_rows() -%}
    {#- What a restated table with `touched` has of the touched messages, while its model runs. -#}
    {{ return('restated_held') }}
{%- endmacro %}


{% macro interaction_hash(account_key, interaction_id) -%}
    md5_number(length({{ account_key }}) || ':' || {{ account_key }} || {{ interaction_id }})
{%- endmacro %}


{% macro table_exists(schema, name) -%}
    {{ return(execute and run_query(
        "select count(*) from duckdb_tables() where database_name = current_database()"
        ~ " and schema_name = '" ~ schema ~ "' and table_name = '" ~ name ~ "'"
    ).rows[0][0] > 0) }}
{%- endmacro %}


{% macro definition_of_outcomes() -%}
    {{ return(env_var('MSGMETRICS_DEFINITION', '')) }}
{%- endmacro %}


{% macro create_marks() -%}
    create schema if not exists facts;
    create schema if not exists parts;
    create table if not exists facts.marks (
        relation varchar,
        batch_id integer,
        rebuilt_batch_id integer,
        definition varchar
    );
    comment on table facts.marks is
        'How far each restated table and mart has come: written with its rows, in one transaction.';
{%- endmacro %}


{% macro set_mark(relation, batch_id, rebuilt_batch_id, definition) -%}
    insert into facts.marks (relation)
    select '{{ relation }}' where '{{ relation }}' not in (select relation from facts.marks);
    update facts.marks
    set
        batch_id = {{ batch_id }},
        rebuilt_batch_id = {{ rebuilt_batch_id }},
        definition = '{{ definition }}'
    where relation = '{{ relation }}';
{%- endmacro %}


{% macro mark_of(relation) -%}
    {{ return(marks_of([relation]).get(relation)) }}
{%- endmacro %}


{% macro marks_of(relations) -%}
    {%- set marks = {} -%}
    {%- for row in run_query(
        "select relation, batch_id, rebuilt_batch_id, definition from facts.marks where relation in ('"
        ~ relations | join("', '") ~ "')"
    ).rows -%}
        {%- do marks.update({row[0]: {'batch_id': row[1], 'rebuilt_batch_id': row[2], 'definition': row[3]}}) -%}
    {%- endfor -%}
    {{ return(marks) }}
{%- endmacro %}


{% macro verified() -%}
    {#- The newest batch of the last build that ended well: what came since has no test behind it yet. -#}
    {%- set mark = mark_of('build') if execute and table_exists('facts', 'marks') else none -%}
    {{ return(mark.batch_id if mark else none) }}
{%- endmacro %}


{% macro restated_rows(name) -%}
    {#- For tests of what builds wrote, so that they cost no more than that. -#}
    {%- set since = verified() -%}
    {%- set mark = mark_of(name) if since is not none else none -%}
    {%- if mark is none or mark.rebuilt_batch_id > since -%}
        {{ return(ref(name)) }}
    {%- endif -%}
    (
        select * exclude (batch_id, after_batch_id, sign)
        from {{ held(name ~ '_changes') }}
        where batch_id > {{ since }} and sign = 1
        qualify batch_id = max(batch_id) over (partition by message_id)
    )
{%- endmacro %}
