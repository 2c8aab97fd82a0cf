-- Owner: operations. Its own rights; of the others' tables it reads which events were processed.
GRANT SELECT, INSERT, UPDATE ON ops_audit, replays TO jettythunder_operations;
GRANT SELECT ON inbox TO jettythunder_operations;
COMMENT ON TABLE ops_audit IS 'Every operation that touches events: written before it begins, its result after. One without a result was cut off. Owner: operations.';
COMMENT ON TABLE replays IS 'Replays of the event log to one consumer. next_offset is where to go on after an interruption. Owner: operations.';
