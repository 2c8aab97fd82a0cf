-- Owner: provisioning. Which master key an account's credentials were derived from, so that keys can be rotated.
CREATE TABLE master_keys (
    id          TEXT PRIMARY KEY,
    fingerprint TEXT,
    known_since TIMESTAMPTZ
);
COMMENT ON TABLE master_keys IS 'The ids of master keys, never the keys. Owner: provisioning.';
COMMENT ON COLUMN master_keys.fingerprint IS 'Derived from the key, so that another one under its id is refused.';
COMMENT ON COLUMN master_keys.known_since IS 'When provisioning first started with the key; both are NULL before that.';
-- Until now there was one key, JETTYTHUNDER_MASTER_KEY: it has the id 1.
INSERT INTO master_keys (id) VALUES ('1');
ALTER TABLE agentcache_accounts ADD COLUMN master_key_id TEXT NOT NULL DEFAULT '1' REFERENCES master_keys (id);
COMMENT ON COLUMN agentcache_accounts.master_key_id IS 'The master key that the current credentials were derived from.';
CREATE INDEX agentcache_accounts_master_key_idx ON agentcache_accounts (master_key_id, created_at);

GRANT SELECT, INSERT, UPDATE (fingerprint, known_since) ON master_keys TO jettythunder_provisioning;
GRANT INSERT (master_key_id), UPDATE (master_key_id) ON agentcache_accounts TO jettythunder_provisioning;
