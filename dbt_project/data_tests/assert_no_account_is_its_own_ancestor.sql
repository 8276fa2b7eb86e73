-- Accounts whose chain of parents loops or leads into a loop stand without a parent.
{{ config(severity='warn', meta={'dagster': {'ref': {'name': 'accounts'}}}) }}
select
    arrived.account_key,
    arrived.parent_account_key
from {{ ref('stg_accounts') }} as arrived
inner join {{ ref('accounts') }} as accounts on arrived.account_key = accounts.account_key
where arrived.parent_account_key is not null and accounts.parent_account_key is null
