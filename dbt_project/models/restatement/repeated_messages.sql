-- Messages of which several versions came as records, not as what webhooks tell: only they need to be compared.
-- depends_on: {{ ref('touched_message_records') }}
{{ config(materialized='table') }}
with

canonical as not materialized (

    select message_hash
    from {{ source('raw', 'messages') if everything_is_touched() else ref('touched_message_records') }}
    where {{ source_rank() }} = {{ canonical_rank() }}

)

{{ several_versions('canonical', 'message_hash') }}
