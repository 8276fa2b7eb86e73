with

arrived as not materialized (

    select
        account_key,
        parent_account_key,
        coalesce(name, account_key) as name,
        coalesce(plan, 'free') as plan,
        coalesce(updated_at, timestamp '2000-01-01') as updated_at
    from {{ source('raw', 'accounts') }}

){{ latest_version('arrived', '(' ~ several_versions(source('raw', 'accounts'), 'account_key') ~ ')', 'account_key', 'account_key', [
    'updated_at', 'parent_account_key', 'name', 'plan',
]) }}

select * from latest
