"""Make the secrets of the containers of deploy/compose: `python -m jettythunder_dev.container_secrets`.

Those that are there stay as they are. The folder is closed to others; the files in it are readable, because
the containers, which see single files of it, run as another user. `env` in it is for a shell on this machine:
it leads to the ports that deploy/compose/compose.yaml publishes.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping
from pathlib import Path

from jettythunder.broker.permissions import user_of
from jettythunder.signatures import SigningKeys, new_signing_key
from jettythunder_client.private_files import write_private
from jettythunder_dev.environment import new_secret, write_environment
from jettythunder_dev.layout import REPOSITORY
from jettythunder_dev.rabbitmq import USER, definitions
from jettythunder_dev.services import service_kinds

FOLDER = REPOSITORY / "deploy" / "compose" / "secrets"
PLAIN = (
    "postgres_password",
    "database_password",
    "lyve_secret_access_key",
    "jettythunder_master_key",
    "jettythunder_internal_key",
    "jettythunder_ops_token",
    "agentcache_webhook_secret",
    "erlang_cookie",
    "metrics_token",
    "grafana_password",
)


def main() -> None:
    """Write what is missing."""
    parser = argparse.ArgumentParser(description="Make the secrets of the containers in deploy/compose.")
    parser.add_argument("folder", type=Path, nargs="?", default=FOLDER)
    parser.add_argument("--encrypted", action="store_true", help="servers are spoken to by TLS")
    given = parser.parse_args()
    make_secrets(given.folder, ports=os.environ, encrypted=given.encrypted)
    print(f"The secrets are in {given.folder}; `. {given.folder}/env` loads them into a shell.")


def make_secrets(folder: Path, *, ports: Mapping[str, str], encrypted: bool = False) -> None:
    """Write the secrets that are missing, and what is made of them.

    Args:
        ports: those that the compose file's variables change, such as POSTGRES_PORT.
        encrypted: servers are spoken to by TLS.
    """
    made = {name: _kept(folder / name) or new_secret() for name in PLAIN}
    signing_keys = _kept(folder / "jettythunder_signing_keys") or new_signing_key("1")
    made["jettythunder_signing_keys"] = signing_keys
    made["jettythunder_verifying_keys"] = str(SigningKeys.parse(signing_keys).verifying)
    made["jettythunder_ops_tokens"] = f"prometheus:metrics:read:{made['metrics_token']}"
    query = "?sslmode=verify-full&sslrootcert=/run/tls/ca.pem" if encrypted else ""
    made["database_url"] = f"{_database_url(made, 'postgres:5432')}{query}"
    made |= _broker_secrets(folder, scheme="amqps" if encrypted else "amqp")
    for name, text in made.items():
        write_private(folder / name, text)
        (folder / name).chmod(0o444)
    write_environment(folder / "env", folder / "env", _environment(made, ports))


def _kept(path: Path) -> str | None:
    return path.read_text() if path.exists() else None


def _broker_secrets(folder: Path, *, scheme: str) -> dict[str, str]:
    """The users of the broker: ours, which may do everything, and one for each service."""
    port = 5671 if scheme == "amqps" else 5672
    passwords = {}
    urls = {}
    for service in ("", *(kind.name for kind in service_kinds())):
        name = f"rabbitmq_url_{service}" if service else "rabbitmq_url"
        kept = _kept(folder / name)
        passwords[service] = kept.partition("@")[0].rpartition(":")[2] if kept else new_secret()
        user = user_of(service) if service else USER
        urls[name] = f"{scheme}://{user}:{passwords[service]}@rabbitmq:{port}/"
    ours = passwords.pop("")
    return {**urls, "rabbitmq_definitions.json": json.dumps(definitions(ours, passwords), indent=2)}


def _database_url(made: dict[str, str], address: str) -> str:
    return f"postgresql://jettythunder:{made['database_password']}@{address}/jettythunder"


def _environment(made: dict[str, str], ports: Mapping[str, str]) -> dict[str, str]:
    """What commands on this machine reach the containers by."""

    def port(name: str, default: int) -> str:
        return f"127.0.0.1:{ports.get(name) or default}"

    ours = made["rabbitmq_url"].partition("//")[2].partition("@")[0]
    return {
        "DATABASE_URL": _database_url(made, port("POSTGRES_PORT", 15432)),
        "RABBITMQ_URL": f"amqp://{ours}@{port('RABBITMQ_PORT', 15680)}/",
        "LYVE_ENDPOINT": f"http://{port('S3_PORT', 18080)}",
        "LYVE_REGION": "us-east-1",
        "LYVE_ACCESS_KEY_ID": "jetty:thunder",
        "LYVE_SECRET_ACCESS_KEY": made["lyve_secret_access_key"],
        "LYVE_BUCKET_NAME": "agentcache-assets",
        "AWS_ACCESS_KEY_ID": "jetty:thunder",
        "AWS_SECRET_ACCESS_KEY": made["lyve_secret_access_key"],
        "AWS_DEFAULT_REGION": "us-east-1",
        "AGENTCACHE_WEBHOOK_SECRET": made["agentcache_webhook_secret"],
        "JETTYTHUNDER_OPS_TOKEN": made["jettythunder_ops_token"],
        "JETTYTHUNDER_PROVISIONING_URL": f"http://{port('PROVISIONING_PORT', 3010)}",
        "JETTYTHUNDER_USAGE_METER_URL": f"http://{port('USAGE_METER_PORT', 3020)}",
        "JETTYTHUNDER_OPERATIONS_URL": f"http://{port('OPERATIONS_PORT', 3030)}",
    }


if __name__ == "__main__":
    main()
