-- Owner: shared. These functions return one row at most. Taken for a thousand, a statement that calls one looked a
-- thousand times dearer without its values than with them, so PostgreSQL planned it anew at every call.
ALTER FUNCTION account_of_key_v2 ROWS 1;
ALTER FUNCTION authenticate ROWS 1;
ALTER FUNCTION chunk_of_upload_v1 ROWS 1;
ALTER FUNCTION quota_of_v1 ROWS 1;
ALTER FUNCTION reserve_bandwidth_v1 ROWS 1;
ALTER FUNCTION reserve_storage_v1 ROWS 1;
ALTER FUNCTION upload_of_chunk_v1 ROWS 1;
ALTER FUNCTION usage_rates ROWS 1;
