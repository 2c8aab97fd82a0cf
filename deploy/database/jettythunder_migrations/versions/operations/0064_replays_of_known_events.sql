-- Owner: operations. A replay delivers no event that its consumer has processed.
ALTER TABLE replays ADD COLUMN processed_before_count bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN replays.replayed_count IS 'The wanted events that the replay has come by, delivered or not.';
COMMENT ON COLUMN replays.processed_before_count IS 'Those of them that the consumer had processed, and did not get again.';
