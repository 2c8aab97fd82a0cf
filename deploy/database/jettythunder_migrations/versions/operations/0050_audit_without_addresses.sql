-- Owner: operations. Edited messages and reasons were kept with the e-mail addresses in them.
UPDATE ops_audit SET filter = filter || (
    SELECT jsonb_object_agg(key, regexp_replace(
        value, '[^\s"''<>,;:\\@]{1,64}@[^\s"''<>,;:\\@]{1,255}', '[e-mail address]', 'g'))
    FROM jsonb_each_text(filter) WHERE key IN ('before', 'after', 'why'))
WHERE filter ?| ARRAY['before', 'after', 'why'] AND filter::text LIKE '%@%';
