-- Owner: the shared package. Each service writes its own events in its own transactions.

CREATE TABLE outbox (
    id          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    lane        SMALLINT NOT NULL,
    exchange    TEXT NOT NULL,
    routing_key TEXT NOT NULL,
    event_id    UUID NOT NULL,
    body        TEXT NOT NULL,
    created_at  TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE INDEX outbox_lane_idx ON outbox (lane, id);
COMMENT ON TABLE outbox IS 'Events committed with the state they tell of, until a relay has them confirmed by the broker. A lane (hash of the subject) is published by one relay at a time, in id order.';

CREATE TABLE outbox_quarantine (
    id             BIGINT PRIMARY KEY,
    lane           SMALLINT NOT NULL,
    exchange       TEXT NOT NULL,
    routing_key    TEXT NOT NULL,
    event_id       UUID NOT NULL,
    body           TEXT NOT NULL,
    created_at     TIMESTAMPTZ NOT NULL,
    quarantined_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    reason         TEXT NOT NULL
);
COMMENT ON TABLE outbox_quarantine IS 'Events no queue takes: set aside so that one wrong routing key does not hold up the rest.';

CREATE FUNCTION notify_outbox() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NOTIFY jettythunder_outbox;
    RETURN NULL;
END $$;
CREATE TRIGGER outbox_notify AFTER INSERT ON outbox FOR EACH STATEMENT EXECUTE FUNCTION notify_outbox();

CREATE TABLE inbox (
    consumer     TEXT NOT NULL,
    event_id     UUID NOT NULL,
    processed_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer, event_id)
);
COMMENT ON TABLE inbox IS 'Events a consumer has processed, kept for ever: the dedupe horizon is never shorter than the replay horizon.';
