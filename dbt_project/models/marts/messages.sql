-- A view: it is the facts under their public name, which publishing copies and sorts.
{{ config(materialized='view') }}

select * exclude (message_hash, interaction_hash) from {{ ref('fct_messages') }}
