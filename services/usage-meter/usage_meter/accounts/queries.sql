-- name: user_of(account_id)$
-- The id of an account's user, as AgentCache gave it.
SELECT agentcache_user_ref FROM agentcache_accounts WHERE id = :account_id;

-- name: find_account(account_id, name)^
-- An account by its id or by its user's, as AgentCache gave it.
SELECT id, agentcache_user_ref AS agentcache_user_id, s3_prefix FROM agentcache_accounts
WHERE id = :account_id OR agentcache_user_ref = :name
LIMIT 1;

-- name: list_accounts(after, page_size)
-- A page of accounts, in the order of their ids.
SELECT id, agentcache_user_ref AS agentcache_user_id, s3_prefix FROM agentcache_accounts
WHERE id > coalesce(:after::uuid, '00000000-0000-0000-0000-000000000000')
ORDER BY id
LIMIT :page_size;

-- name: list_given(account_ids)
-- The accounts of these ids, in their order.
SELECT id, agentcache_user_ref AS agentcache_user_id, s3_prefix FROM agentcache_accounts
WHERE id = ANY (:account_ids::uuid[])
ORDER BY id;

-- name: without_account(account_ids)
-- Which ids belong to no account.
SELECT g.account_id FROM unnest(:account_ids::uuid[]) AS g (account_id)
WHERE NOT EXISTS (SELECT FROM agentcache_accounts a WHERE a.id = g.account_id)
ORDER BY g.account_id;
