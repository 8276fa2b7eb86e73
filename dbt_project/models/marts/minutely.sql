{{ config(materialized='mart', mart='channel', grain='minute') }}
{{ sums('channel', 'minute', 'sent_at', ref('fct_messages')) }}
