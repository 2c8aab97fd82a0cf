"""The list of edges in PostgreSQL."""

from datetime import datetime

from jettythunder.database import Queries, Runner

_queries = Queries("chunk_worker.edge")
_note_edge = _queries.run("note_edge")
_remove_edge = _queries.run("remove_edge")


async def note_edge(
    on: Runner,
    *,
    edge_id: str,
    region: str,
    url: str,
    in_flight_bytes: int,
    capacity_bytes: int,
    started_at: datetime,
) -> None:
    """Note that an edge serves and how busy it is."""
    await _note_edge(
        on,
        edge_id=edge_id,
        region=region,
        url=url,
        in_flight_bytes=in_flight_bytes,
        capacity_bytes=capacity_bytes,
        started_at=started_at,
    )


async def remove_edge(on: Runner, *, edge_id: str, started_at: datetime) -> None:
    """Take an edge off the list, unless a later process has its id by now."""
    await _remove_edge(on, edge_id=edge_id, started_at=started_at)
