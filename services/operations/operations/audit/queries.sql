-- name: begin(who, action, filter)
-- Notes who is about to do what.
INSERT INTO ops_audit (who, action, filter) VALUES (:who, :action, :filter::jsonb) RETURNING id;

-- name: note(audit_id, result)!
-- Notes what was done so far.
UPDATE ops_audit SET result = :result::jsonb WHERE id = :audit_id;

-- name: finish(audit_id, result)!
-- Notes what came of it.
UPDATE ops_audit SET result = :result::jsonb, finished_at = now() WHERE id = :audit_id;

-- name: newest(limit)
-- What was done last, newest first.
SELECT id, who, began_at, action, filter, result, finished_at FROM ops_audit ORDER BY id DESC LIMIT :limit;
