{#- A mart: a table of parts, which only ever grows, and over it the view that readers see. A run adds
    what the changes since its mark sum to, keyed as the mart is; the view sums all parts of a key and
    divides. Nothing is looked up and nothing is updated, so a run costs what it changes, and rows
    appended in one transaction with the mark are there once. A mart is made anew from the facts when
    these were, when its own definition has changed, and when the changes it needs are gone. The days
    of a backfill are replaced by sums of the facts. Parts that have doubled a mart are put together, but for
    the newest. -#}

{% materialization mart, adapter='duckdb' -%}
    {%- set mart = config.get('mart') or this.identifier.split('_by_')[1] -%}
    {%- set grain = config.require('grain') -%}
    {%- set existing = load_cached_relation(this) -%}
    {%- set parts = mart_parts(this.identifier) -%}
    {%- set facts = 'fct_url_clicks' if mart == 'url' else 'fct_messages' -%}
    {%- set marks = marks_of([facts, facts ~ '_changes', this.identifier, 'decimals']) -%}
    {%- set counted = marks.get(facts) -%}
    {%- set mark = marks.get(this.identifier) -%}
    {%- set decimals = marks.get('decimals').definition -%}
    {%- set definition = local_md5(sums(mart, grain, 'sent_at', 'facts', decimals)) -%}
    {%- set days = none -%}
    {%- if mark -%}
        {%- set days = backfilled_days(mark.batch_id, counted.batch_id) if mark.batch_id < counted.batch_id else [] -%}
    {%- endif -%}
    {%- set folded_upto = marks.get(facts ~ '_changes') -%}
    {%- set is_made_anew = mark is none
        or mark.definition != definition
        or mark.rebuilt_batch_id < counted.rebuilt_batch_id
        or (folded_upto and mark.batch_id < folded_upto.batch_id)
        or days is none
        or not table_exists('parts', this.identifier) -%}

    {%- set made_anew = namespace(at=mark.rebuilt_batch_id if mark else none) -%}

    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}

    {%- call statement('main') -%}
        {%- if is_made_anew -%}
            create or replace table {{ parts }} as
            select {{ counted.batch_id }}::integer as batch_id, *
            from (
                {%- if grain == 'day' -%}
                {{ sums(mart, grain, 'period_start', mart_parts('hourly_by_' ~ mart), decimals) }}
                {%- else -%}
                {{ sums(mart, grain, 'sent_at', held(facts), decimals, of_facts=true) }}
                {%- endif -%}
            ) as sums;
            {{ set_mark(this.identifier, counted.batch_id, counted.batch_id, definition) }}
        {%- elif mark.batch_id < counted.batch_id -%}
            {#- The newest stay apart: files that are a few batches behind are brought forward by them,
                and tests of what the last builds added read them alone. -#}
            {%- set upto = counted.batch_id - [var('batches_kept_apart'), 1] | max -%}
            {%- if is_crowded(parts, mark.rebuilt_batch_id, upto) %}
            {%- set made_anew.at = upto %}
            create or replace table {{ parts }} as
            select {{ upto }}::integer as batch_id, *
            from ({{ sums(mart, grain, 'period_start', '(select * from ' ~ parts ~ ' where batch_id <= ' ~ upto ~ ')', decimals) }}) as sums
            where {{ is_any(mart) }}
            union all by name
            select * from {{ parts }} where batch_id > {{ upto }};
            {%- endif %}
            {%- if days %}
            delete from {{ parts }} where {{ in_days('period_start', days) }};
            {%- endif %}
            insert into {{ parts }}
            select {{ counted.batch_id }} as batch_id, *
            from ({{ sums(mart, grain, 'sent_at', restated_facts(facts, mark.batch_id, days), decimals) }}) as sums
            where {{ is_any(mart) }};
            {{ set_mark(this.identifier, counted.batch_id, made_anew.at, definition) }}
        {%- else -%}
            select 'nothing has changed'
        {%- endif -%}
    {%- endcall -%}
    {%- if is_made_anew or existing is none or not existing.is_view -%}
        {#- Between two such runs neither the parts nor the view over them can come to other types. -#}
        {{ assert_contract(mart_of_parts(mart, parts, with_metrics=grain != 'minute')) }}
    {%- endif -%}

    {%- call statement('view') -%}
        {%- if existing is not none and not existing.is_view %}
        drop table {{ this }};
        {%- endif %}
        create or replace view {{ this }} as {{ mart_of_parts(mart, parts, with_metrics=grain != 'minute') }}
    {%- endcall -%}

    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {{ adapter.commit() }}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return({'relations': [this.incorporate(type='view')]}) }}
{%- endmaterialization %}


{% macro assert_contract(sql) -%}
    {#- dbt's own comparison calls a macro for each column of both sides, so it is asked only where names
        and types are not the stated ones to the letter: it says then what differs, if anything does. -#}
    {%- set found = {} -%}
    {%- for row in run_query("select column_name, column_type from (describe " ~ sql ~ ")").rows -%}
        {%- do found.update({row[0]: row[1]}) -%}
    {%- endfor -%}
    {%- set stated = {} -%}
    {%- for column in model.columns.values() -%}
        {%- do stated.update({column.name: column.data_type | upper | replace(' ', '')}) -%}
    {%- endfor -%}
    {%- if found != stated -%}
        {{ get_assert_columns_equivalent(sql) }}
    {%- endif -%}
{%- endmacro %}


{% macro is_crowded(parts, made_anew_at, upto) -%}
    {{ return(run_query(
        "select count(*) filter (batch_id > " ~ made_anew_at ~ " and batch_id <= " ~ upto
        ~ ") > greatest(" ~ var('crowded_from') ~ ", count(*) filter (batch_id <= " ~ made_anew_at ~ ")) from " ~ parts
    ).rows[0][0]) }}
{%- endmacro %}


{% macro is_any(mart) -%}
    {% for measure in mart_measures(mart) %}{{ measure.name }} <> 0{{ " or " if not loop.last }}{% endfor %}
{%- endmacro %}


{% macro mart_parts(name) -%}
    {{ return(api.Relation.create(database=target.database, schema='parts', identifier=name)) }}
{%- endmacro %}


{% macro restated_facts(facts, after, days) -%}
    (
        select * exclude (batch_id, after_batch_id, sign)
        from {{ held(facts ~ '_changes') }}
        where batch_id > {{ after }} and not {{ in_days('sent_at', days) }}
        {%- if days %}
        union all by name
        select * from {{ held(facts) }} where {{ in_days('sent_at', days) }}
        {%- endif %}
    )
{%- endmacro %}


{% macro mart_of_parts(mart, parts, with_metrics) -%}
with

measures as (

    select
        period_start,
        {%- for column in mart_keys(mart) %}
        {{ column }},
        {%- endfor %}
        {{ summed_measures(mart) }}
    from {{ parts }}
    group by period_start, {{ mart_keys(mart) | join(', ') }}
    having {{ "sum(clicked_messages)" if mart == 'url' else "sum(messages_out) + sum(messages_in)" }} > 0

)

{{ named_metrics(mart) if with_metrics else 'select * from measures' }}
{%- endmacro %}
