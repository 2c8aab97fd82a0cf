"""Each table has one service that writes it, and PostgreSQL refuses all others."""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql
from psycopg.errors import InsufficientPrivilege, InvalidParameterValue
from tests.support.infrastructure import Infrastructure

from jettythunder.lifecycle import role_of

SERVICES = ("provisioning", "storage-gateway", "chunk-worker", "usage-meter", "operations")
# An edge that is nothing else is a process of the chunk-worker's code, in a role of its own.
ROLES = tuple(map(role_of, (*SERVICES, "edge")))
PROVISIONING, STORAGE_GATEWAY, CHUNK_WORKER, USAGE_METER, OPERATIONS, EDGE = ROLES
# Every service but operations has an outbox and an inbox.
MESSAGING = {PROVISIONING, STORAGE_GATEWAY, CHUNK_WORKER, USAGE_METER}

MIGRATIONS = "written by migrations alone"
SHARED = "shared by all services that send and receive events"

OWNERS = {
    "account_usage": USAGE_METER,
    "agentcache_accounts": PROVISIONING,
    "agentcache_assets": STORAGE_GATEWAY,
    "alembic_version": MIGRATIONS,
    "asset_cache_keys": STORAGE_GATEWAY,
    "chunks_under_way": STORAGE_GATEWAY,
    "edges": CHUNK_WORKER,
    "inbox": SHARED,
    "master_keys": PROVISIONING,
    "object_deletions": STORAGE_GATEWAY,
    "ops_audit": OPERATIONS,
    "outbox": SHARED,
    "outbox_quarantine": SHARED,
    "rate_limits": STORAGE_GATEWAY,
    "reconciliation_queue": USAGE_METER,
    "reconciliation_round": USAGE_METER,
    "reconciliation_run": USAGE_METER,
    "replays": OPERATIONS,
    "storage_usage": USAGE_METER,
    "storage_usage_history": USAGE_METER,
    "tier_configs": MIGRATIONS,
    "upload_chunks": CHUNK_WORKER,
    "uploads": STORAGE_GATEWAY,
    "usage_ledger": USAGE_METER,
    "usage_prices": USAGE_METER,
    "usage_reservations": USAGE_METER,
    "usage_rollup_queue": USAGE_METER,
}

APPEND_ONLY = ("usage_ledger", "storage_usage_history")

SHARED_RIGHTS = {
    "inbox": {"SELECT", "INSERT"},
    "outbox": {"SELECT", "INSERT", "UPDATE", "DELETE"},
    "outbox_quarantine": {"INSERT"},
}

# Columns of an account that are not provisioning's.
USAGE_COLUMNS = {"storage_used_gb", "bandwidth_used_gb", "over_quota"}
# What credentials are checked against, and which key they were derived from.
SECRET_COLUMNS = {
    "api_key",
    "api_secret",
    "previous_api_key",
    "previous_api_secret",
    "previous_valid_until",
    "master_key_id",
}

CALLERS = {
    "account_of_key_v2": {STORAGE_GATEWAY},
    "chunk_of_upload_v1": {CHUNK_WORKER, EDGE, STORAGE_GATEWAY},
    "forget_chunks_v1": {STORAGE_GATEWAY},
    "keep_bandwidth_v1": {STORAGE_GATEWAY},
    "keep_inbox_v1": MESSAGING,
    "keep_usage_v1": {USAGE_METER},
    "lock_usage_v1": {PROVISIONING},
    "note_edge_v1": {CHUNK_WORKER, EDGE},
    "quota_of_v1": {STORAGE_GATEWAY, USAGE_METER},
    "record_chunk_v1": {CHUNK_WORKER, EDGE, STORAGE_GATEWAY},
    "remove_edge_v1": {CHUNK_WORKER, EDGE},
    "request_object_deletions_v1": {USAGE_METER},
    "reserve_bandwidth_v1": {STORAGE_GATEWAY},
    "reserve_storage_v1": {STORAGE_GATEWAY},
    "set_quotas_v1": {PROVISIONING},
    "upload_of_chunk_v1": {CHUNK_WORKER, EDGE, STORAGE_GATEWAY},
}

Connection = psycopg.Connection[tuple[object, ...]]


@pytest.fixture(scope="module")
def connection(infrastructure: Infrastructure) -> Iterator[Connection]:
    with psycopg.connect(infrastructure.database_url, autocommit=True) as opened:
        yield opened


def is_refused(connection: Connection, role: str, statement: sql.SQL | sql.Composed) -> bool:
    """Whether a role may not run a statement; whatever it does is rolled back."""
    with connection.transaction(force_rollback=True):
        connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(role)))
        try:
            with connection.transaction():
                connection.execute(statement)
        except InsufficientPrivilege:
            return True
        except psycopg.Error:
            # It was let in, and stumbled over a constraint.
            return False
    return False


def columns_of(connection: Connection, table: str) -> list[str]:
    found = connection.execute(
        "SELECT column_name::text FROM information_schema.columns"
        " WHERE table_schema = 'public' AND table_name = %s",
        [table],
    )
    return [str(name) for (name,) in found]


def writes(connection: Connection, table: str) -> dict[str, sql.Composed]:
    """A statement for each kind of write; they need no right to read."""
    name = sql.Identifier(table)
    statements = {
        "INSERT": sql.SQL("INSERT INTO {} DEFAULT VALUES").format(name),
        "DELETE": sql.SQL("DELETE FROM {}").format(name),
    }
    for column in columns_of(connection, table):
        statements[f"UPDATE of {column}"] = sql.SQL("UPDATE {} SET {} = DEFAULT").format(
            name, sql.Identifier(column)
        )
    return statements


def allowed_writes(connection: Connection, table: str, role: str) -> set[str]:
    """The kinds of writes that a role may make."""
    return {
        write
        for write, statement in writes(connection, table).items()
        if not is_refused(connection, role, statement)
    }


def test_every_table_has_an_owner(connection: Connection) -> None:
    tables = connection.execute(
        "SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public'"
    )
    assert {name for (name,) in tables} == set(OWNERS)


@pytest.mark.parametrize(
    ("table", "role"),
    [
        (table, role)
        for table, owner in OWNERS.items()
        for role in ROLES
        if owner is not SHARED and owner != role
    ],
)
def test_a_foreign_write_is_refused(connection: Connection, table: str, role: str) -> None:
    is_shown_usage = (table, role) == ("agentcache_accounts", USAGE_METER)
    allowed = {f"UPDATE of {column}" for column in USAGE_COLUMNS} if is_shown_usage else set()
    assert allowed_writes(connection, table, role) == allowed


@pytest.mark.parametrize(("table", "owner"), [pair for pair in OWNERS.items() if pair[1] in ROLES])
def test_an_owner_writes_its_table(connection: Connection, table: str, owner: str) -> None:
    allowed = allowed_writes(connection, table, owner)
    assert "INSERT" in allowed
    # What is written once is not changed by its owner either.
    assert (allowed == {"INSERT"}) is (table in APPEND_ONLY)


@pytest.mark.parametrize("role", ROLES)
def test_nobody_empties_a_table(connection: Connection, role: str) -> None:
    allowed = [
        table
        for table in OWNERS
        if not is_refused(connection, role, sql.SQL("TRUNCATE {}").format(sql.Identifier(table)))
    ]
    assert allowed == []


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("table", SHARED_RIGHTS)
def test_messaging_tables_are_shared_by_the_services_that_have_events(
    connection: Connection, table: str, role: str
) -> None:
    rights = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")
    held = {
        right
        for right in rights
        if connection.execute("SELECT has_table_privilege(%s, %s, %s)", [role, table, right]).fetchone()
        == (True,)
    }
    if role in MESSAGING:
        assert held == SHARED_RIGHTS[table]
    else:
        # Operations shows which events a consumer has processed.
        assert held == ({"SELECT"} if (table, role) == ("inbox", OPERATIONS) else set())


def columns_with(connection: Connection, role: str, right: str) -> set[str]:
    """The columns of an account for which a role has a right."""
    return {
        column
        for column in columns_of(connection, "agentcache_accounts")
        if connection.execute(
            "SELECT has_column_privilege(%s, 'agentcache_accounts', %s, %s)", [role, column, right]
        ).fetchone()
        == (True,)
    }


def test_the_columns_of_an_account_have_one_writer_each(connection: Connection) -> None:
    columns = set(columns_of(connection, "agentcache_accounts"))
    by_provisioning = columns_with(connection, PROVISIONING, "UPDATE")
    assert columns_with(connection, USAGE_METER, "UPDATE") == USAGE_COLUMNS
    assert by_provisioning & USAGE_COLUMNS == set()
    assert columns_with(connection, PROVISIONING, "INSERT") & USAGE_COLUMNS == set()
    # Identity, and what is computed or set once, is nobody's to change.
    assert columns - by_provisioning - USAGE_COLUMNS == {
        "id",
        "agentcache_user_id",
        "agentcache_user_ref",
        "s3_bucket_name",
        "s3_prefix",
        "status",
        "created_at",
    }


@pytest.mark.parametrize("role", [STORAGE_GATEWAY, USAGE_METER])
def test_other_services_read_of_an_account_everything_but_its_secrets(
    connection: Connection, role: str
) -> None:
    columns = set(columns_of(connection, "agentcache_accounts"))
    assert columns_with(connection, role, "SELECT") == columns - SECRET_COLUMNS
    read = sql.SQL("SELECT api_secret FROM agentcache_accounts")
    assert is_refused(connection, role, read)


@pytest.mark.parametrize("role", [CHUNK_WORKER, OPERATIONS, EDGE])
def test_services_that_need_no_accounts_read_none(connection: Connection, role: str) -> None:
    assert columns_with(connection, role, "SELECT") == set()


def test_an_edge_has_no_right_on_any_table(connection: Connection) -> None:
    rights = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")
    held = [
        (table, right)
        for table in OWNERS
        for right in rights
        if connection.execute("SELECT has_table_privilege(%s, %s, %s)", [EDGE, table, right]).fetchone()
        == (True,)
    ]
    assert held == []


@pytest.mark.parametrize("event", ['{"type": "jettythunder.asset.deleted.v1"}', "{}", "[]"])
def test_an_edge_publishes_nothing_but_recorded_chunks(connection: Connection, event: str) -> None:
    with connection.transaction(force_rollback=True):
        connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(EDGE)))
        with pytest.raises(InvalidParameterValue, match="The event of a recorded chunk"):
            connection.execute(
                "SELECT record_chunk_v1(gen_random_uuid(), 1, 1, '', '', 'edge', 0, 0::smallint,"
                " gen_random_uuid(), %s)",
                [event],
            )


def test_functions_with_their_owner_s_rights_have_a_version_and_named_callers(connection: Connection) -> None:
    functions = connection.execute(
        """
        SELECT proname::text, oid, proconfig::text FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace AND (prosecdef OR proname ~ '_v[0-9]+$')
        """
    ).fetchall()
    assert {name for name, _, _ in functions} == set(CALLERS)
    for name, oid, configuration in functions:
        callers = {
            role
            for role in ROLES
            if connection.execute(
                "SELECT has_function_privilege(%s, %s::oid, 'EXECUTE')", [role, oid]
            ).fetchone()
            == (True,)
        }
        assert callers == CALLERS[str(name)], name
        # Else whoever calls could put tables of another schema in the way.
        assert configuration == '{"search_path=public, pg_temp"}', name


def test_roles_can_not_log_in_and_have_no_rights_but_those_granted(connection: Connection) -> None:
    found = connection.execute(
        """
        SELECT rolname::text, rolcanlogin OR rolsuper OR rolcreaterole OR rolcreatedb OR rolbypassrls
               OR EXISTS (SELECT FROM pg_auth_members WHERE member = pg_roles.oid)
        FROM pg_roles WHERE starts_with(rolname, 'jettythunder_')
        """
    ).fetchall()
    assert sorted(found) == sorted((role, False) for role in ROLES)
