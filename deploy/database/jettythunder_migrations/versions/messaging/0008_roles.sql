-- Owner: the shared package. Each service runs its statements as a role of its own. A role writes the tables that
-- the service owns and nothing else; across services there are only versioned functions.
-- Roles belong to the whole server, so another database's migrations may have made them already.
DO $$
DECLARE
    service TEXT;
    acting TEXT := CASE WHEN current_setting('server_version_num')::INTEGER < 160000 THEN 'MEMBER' ELSE 'SET' END;
BEGIN
    FOREACH service IN ARRAY ARRAY['provisioning', 'storage_gateway', 'chunk_worker', 'usage_meter', 'operations'] LOOP
        service := 'jettythunder_' || service;
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = service) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', service);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL;
            END;
        END IF;
        -- Whoever migrates may run services; other users are granted the roles by hand. From PostgreSQL 16 on, who
        -- makes a role is a member that may not act as it.
        IF NOT pg_has_role(current_user, service, acting) THEN
            EXECUTE format('GRANT %I TO CURRENT_USER', service);
        END IF;
    END LOOP;
END $$;

-- Any relay publishes what any service has committed, so all services share the outbox.
GRANT SELECT, INSERT, UPDATE, DELETE ON outbox
    TO jettythunder_provisioning, jettythunder_storage_gateway, jettythunder_chunk_worker, jettythunder_usage_meter;
GRANT INSERT ON outbox_quarantine
    TO jettythunder_provisioning, jettythunder_storage_gateway, jettythunder_chunk_worker, jettythunder_usage_meter;
GRANT SELECT, INSERT ON inbox
    TO jettythunder_provisioning, jettythunder_storage_gateway, jettythunder_chunk_worker, jettythunder_usage_meter;

-- A commit wakes the relay of its own process; what is left over is found by polling. A notification for each
-- statement made all commits wait for one lock.
DROP TRIGGER outbox_notify ON outbox;
DROP FUNCTION notify_outbox();
