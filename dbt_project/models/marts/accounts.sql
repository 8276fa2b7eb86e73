-- An account whose chain of parents loops stands without a parent: no account may see another's
-- numbers by way of a loop.
with recursive

accounts as (

    select * from {{ ref('stg_accounts') }}

),

rooted as (

    select account_key
    from accounts
    where
        parent_account_key is null
        or parent_account_key not in (select account_key from accounts)

    union all

    select accounts.account_key
    from accounts
    inner join rooted on accounts.parent_account_key = rooted.account_key

)

select
    accounts.account_key,
    case when rooted.account_key is not null then accounts.parent_account_key end as parent_account_key,
    accounts.name,
    accounts.plan
from accounts
left join rooted on accounts.account_key = rooted.account_key
