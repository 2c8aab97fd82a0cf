"""Whether a server of each kind answers: the smallest real request, made as services make it.

The clients are imported where they are used: they make up most of the command line's start otherwise.
"""

from __future__ import annotations

import asyncio
import logging
import urllib.request

TIMEOUT_SECONDS = 5


def ping_database(url: str) -> None:
    """Run SELECT 1; raises psycopg.Error where the database does not answer."""
    import psycopg  # noqa: PLC0415

    with psycopg.connect(url, connect_timeout=TIMEOUT_SECONDS) as connection:
        connection.execute("SELECT 1")


def make_database(url: str, *, owner: str, password: str, database: str) -> None:
    """Make the role, which is no superuser, and a database that it owns. Either may be there already."""
    import psycopg  # noqa: PLC0415
    from psycopg import sql  # noqa: PLC0415

    name, owned = sql.Identifier(owner), sql.Identifier(database)
    with psycopg.connect(url, connect_timeout=TIMEOUT_SECONDS, autocommit=True) as connection:
        if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (owner,)).fetchone() is None:
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN CREATEDB").format(name))
        # The migrations make a role for each service.
        changed = sql.SQL("ALTER ROLE {} NOSUPERUSER CREATEROLE PASSWORD {}")
        connection.execute(changed.format(name, sql.Literal(password)))
        if connection.execute("SELECT FROM pg_database WHERE datname = %s", (database,)).fetchone() is None:
            connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(owned, name))


def ping_broker(url: str) -> None:
    """Open a connection and a channel; raises where the broker does not answer."""
    from jettythunder.broker.connection import connected  # noqa: PLC0415

    async def open_channel() -> None:
        async with connected(url, name="developer stack") as connection:
            await connection.channel()

    logging.getLogger("aiormq").setLevel(logging.CRITICAL)  # a refused connection is expected at first
    asyncio.run(open_channel())


def list_buckets(endpoint: str, region: str, access_key_id: str, secret_access_key: str) -> None:
    """Make a signed ListBuckets call; raises OSError where the server does not answer it with 200.

    botocore signs it (Signature Version 4); its client's start would take longer than the call.
    """
    from botocore.auth import S3SigV4Auth  # noqa: PLC0415
    from botocore.awsrequest import AWSRequest  # noqa: PLC0415
    from botocore.credentials import Credentials  # noqa: PLC0415

    request = AWSRequest(method="GET", url=f"{endpoint.rstrip('/')}/")
    S3SigV4Auth(Credentials(access_key_id, secret_access_key), "s3", region).add_auth(request)
    get(request.url, headers=dict(request.headers.items()))


def get(url: str, headers: dict[str, str] | None = None) -> None:
    """GET without proxies; raises OSError (urllib.error.URLError) unless the answer is a success."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, headers=headers or {})  # noqa: S310
    with opener.open(request, timeout=TIMEOUT_SECONDS) as answer:
        answer.read()
