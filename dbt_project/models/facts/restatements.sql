{{ config(materialized='view') }}
with

batches as (

    select distinct
        batch_id,
        after_batch_id
    from {{ ref('restated_hours') }}

),

causes as (

    select
        batches.batch_id,
        string_agg(distinct arrived.cause, ', ' order by arrived.cause) as causes,
        max(arrived.started_at) as restated_at
    from batches
    inner join {{ source('raw', 'batches') }} as arrived
        on arrived.batch_id > batches.after_batch_id and arrived.batch_id <= batches.batch_id
    group by batches.batch_id

),

files as (

    select
        batches.batch_id,
        list(arrived.path order by arrived.path) as files
    from batches
    inner join {{ source('raw', 'files') }} as arrived
        on arrived.batch_id > batches.after_batch_id and arrived.batch_id <= batches.batch_id
    where arrived.loaded > 0
    group by batches.batch_id

)

select
    hours.batch_id,
    causes.restated_at,
    causes.causes,
    hours.* exclude (batch_id, after_batch_id),
    coalesce(files.files, []) as files
from {{ ref('restated_hours') }} as hours
left join causes on hours.batch_id = causes.batch_id
left join files on hours.batch_id = files.batch_id
