-- name: begin_audit(who, action, filter)$
-- Notes who is about to do what.
INSERT INTO ops_audit (who, action, filter) VALUES (:who, :action, :filter::jsonb) RETURNING id;

-- name: finish_audit(audit_id, result)!
-- Notes what came of it.
UPDATE ops_audit SET result = :result::jsonb, finished_at = now() WHERE id = :audit_id;

-- name: newest_audit(limit)
-- What was done last, newest first.
SELECT id, who, began_at, action, filter, result, finished_at FROM ops_audit ORDER BY id DESC LIMIT :limit;

-- name: processed_by(event_id)
-- The consumers that have processed an event.
SELECT consumer, processed_at FROM inbox WHERE event_id = :event_id ORDER BY processed_at;

-- name: known_events(consumer, event_ids)
-- Which of the events a consumer has processed.
SELECT event_id FROM inbox WHERE consumer = :consumer AND event_id = ANY (:event_ids::uuid[]);

-- name: insert_replay(replay_id, audit_id, consumer, filter, rate, end_offset)^
-- Begins a replay.
INSERT INTO replays (id, audit_id, consumer, filter, rate, end_offset)
VALUES (:replay_id, :audit_id, :consumer, :filter::jsonb, :rate, :end_offset)
RETURNING *, (SELECT who FROM ops_audit a WHERE a.id = audit_id) AS who;

-- name: fetch_replay(replay_id)^
-- One replay, and who began or resumed it last.
SELECT r.*, a.who FROM replays r JOIN ops_audit a ON a.id = r.audit_id WHERE r.id = :replay_id;

-- name: newest_replays(limit)
-- The last replays, newest first.
SELECT r.*, a.who FROM replays r JOIN ops_audit a ON a.id = r.audit_id ORDER BY r.started_at DESC LIMIT :limit;

-- name: claim_replay(replay_id, audit_id, silent_seconds)^
-- Takes over a replay that was interrupted, or whose process has been silent; nobody else can take it then.
UPDATE replays SET status = 'running', audit_id = :audit_id, updated_at = now()
WHERE id = :replay_id AND (status = 'interrupted'
    OR status = 'running' AND updated_at < now() - make_interval(secs => :silent_seconds))
RETURNING *, (SELECT who FROM ops_audit a WHERE a.id = audit_id) AS who;

-- name: note_progress(replay_id, next_offset, read_count, replayed_count, status)!
-- Remembers how far a replay has come.
UPDATE replays
SET next_offset = :next_offset, read_count = :read_count, replayed_count = :replayed_count, status = :status,
    updated_at = now()
WHERE id = :replay_id;
