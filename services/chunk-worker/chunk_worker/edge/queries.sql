-- name: note_edge(edge_id, region, url, in_flight_bytes, capacity_bytes, started_at)!
-- Notes that an edge serves and how busy it is.
SELECT note_edge_v1(:edge_id, :region, :url, :in_flight_bytes, :capacity_bytes, :started_at);

-- name: remove_edge(edge_id, started_at)!
-- Takes an edge off the list, unless a later process has its id by now.
SELECT remove_edge_v1(:edge_id, :started_at);
