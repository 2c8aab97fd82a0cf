-- Owner: the shared package. A commit wakes the relays of the service that wrote it, not everybody's: five
-- relays racing for one event cost more than the event. What no relay of its service takes, any relay finds by polling.
CREATE OR REPLACE FUNCTION notify_outbox() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('jettythunder_outbox', current_setting('application_name'));
    RETURN NULL;
END $$;
