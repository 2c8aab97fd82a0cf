-- name: insert(replay_id, audit_id, consumer, filter, rate, end_offset)
-- Begins a replay.
INSERT INTO replays AS r (id, audit_id, consumer, filter, rate, end_offset)
VALUES (:replay_id, :audit_id, :consumer, :filter::jsonb, :rate, :end_offset)
RETURNING id, (SELECT who FROM ops_audit a WHERE a.id = r.audit_id) AS who, consumer, filter, rate,
    next_offset, end_offset, read_count, replayed_count, processed_before_count, status, started_at,
    updated_at;

-- name: fetch(replay_id)
-- One replay, and who began or resumed it last.
SELECT r.id, who, consumer, r.filter, rate, next_offset, end_offset, read_count, replayed_count,
    processed_before_count, status, started_at, updated_at
FROM replays r JOIN ops_audit a ON a.id = r.audit_id WHERE r.id = :replay_id;

-- name: newest(limit)
-- The last replays, newest first.
SELECT r.id, who, consumer, r.filter, rate, next_offset, end_offset, read_count, replayed_count,
    processed_before_count, status, started_at, updated_at
FROM replays r JOIN ops_audit a ON a.id = r.audit_id ORDER BY r.started_at DESC LIMIT :limit;

-- name: claim(replay_id, audit_id, silent_seconds)
-- Takes over a replay that was interrupted, or whose process has been silent; nobody else can take it then.
UPDATE replays r SET status = 'running', audit_id = :audit_id, updated_at = now()
WHERE id = :replay_id AND (status = 'interrupted'
    OR status = 'running' AND updated_at < now() - make_interval(secs => :silent_seconds))
RETURNING id, (SELECT who FROM ops_audit a WHERE a.id = r.audit_id) AS who, consumer, filter, rate,
    next_offset, end_offset, read_count, replayed_count, processed_before_count, status, started_at,
    updated_at;

-- name: note(replay_id, audit_id, next_offset, read_count, replayed_count, processed_before_count, status)
-- Remembers how far a replay has come, unless it was taken over meanwhile: then no row comes back.
UPDATE replays
SET next_offset = :next_offset, read_count = :read_count, replayed_count = :replayed_count,
    processed_before_count = :processed_before_count, status = :status, updated_at = now()
WHERE id = :replay_id AND audit_id = :audit_id AND status = 'running'
RETURNING updated_at;
