-- For pgbench: a reservation of one of so many accounts, `-D accounts=1`. The database needs them, as docs/scale.md says.
\set n random(1, :accounts)
SELECT granted FROM reserve_bandwidth_v1(md5('a' || :n)::uuid, new_id(), 1, now() + interval '1 hour');
