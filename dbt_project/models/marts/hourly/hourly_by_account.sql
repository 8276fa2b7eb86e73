-- A view: the marts by account and by channel have the same keys, and so the same rows.
{{ config(materialized='view') }}

select * exclude (channel_name) from {{ ref('hourly_by_channel') }}
