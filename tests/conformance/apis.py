"""The six APIs, the credentials for them, and Schemathesis run against one of them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx
from tests.support.infrastructure import Services

FOLDER = Path(__file__).parent
CHUNK_BYTES = 64
EDGE_SECRET = "edge-secret-of-the-tests-0123456789abcdef"


@dataclass(frozen=True)
class Api:
    """A part of what a service answers: the paths that begin so."""

    service: str
    paths: str

    def has(self, path: str) -> bool:
        """Whether the path belongs to it."""
        return re.search(self.paths, path) is not None


APIS = {
    "tenant": Api("storage-gateway", r"^/api/(storage/|edges$|agentcache/quota$)"),
    "agentcache": Api("storage-gateway", r"^/api/agentcache/(?!quota$)"),
    "edge": Api("chunk-worker-1", r"^/"),
    "worker": Api("storage-gateway", r"^/api/edges/"),
    "usage": Api("usage-meter", r"^/"),
    "admin": Api("operations", r"^/"),
}


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    succeeded: bool
    output: str


def credentials(services: Services) -> dict[str, str]:
    """What schemathesis.toml and the hooks take from the environment."""
    told = services.environment
    headers = {"Authorization": f"Bearer {told['AGENTCACHE_WEBHOOK_SECRET']}"}
    with httpx.Client(base_url=services.base_url, timeout=60, trust_env=False) as http:
        user = {"agentcache_user_id": uuid4().hex, "agentcache_email": "a@b.c", "tier": "enterprise"}
        account = http.post("/api/agentcache/provision", headers=headers, json=user).json()["account"]
        pair = {"Authorization": f"Bearer {account['api_key']}", "X-API-Secret": account["api_secret"]}
        file = {"filename": "a.bin", "size_bytes": CHUNK_BYTES}
        upload = http.post("/api/storage/uploads", headers=pair, json=file).json()["upload"]
        small = {"file": ("b.bin", b"bytes")}
        asset = http.post("/api/storage/upload", headers=pair, files=small).json()["asset"]
        path = f"/api/storage/uploads/{upload['id']}/tokens"
        tokens = http.post(path, headers=pair, json={"numbers": [1]}).json()["tokens"]
    return {
        "ACCOUNT_ID": account["id"],
        "ASSET_ID": asset["id"],
        "TENANT_KEY": account["api_key"],
        "TENANT_SECRET": account["api_secret"],
        "AGENTCACHE_SECRET": told["AGENTCACHE_WEBHOOK_SECRET"],
        "OPS_TOKEN": told["JETTYTHUNDER_OPS_TOKEN"],
        "EDGE_SECRET": EDGE_SECRET,
        "CHUNK_TOKEN": tokens[0]["token"],
        "CHUNK_UPLOAD_ID": upload["id"],
        "CHUNK_BYTES": str(CHUNK_BYTES),
    }


def headers_for(name: str, access: Mapping[str, str]) -> dict[str, str]:
    """The credentials of an API's callers."""
    match name:
        case "tenant":
            return {
                "Authorization": f"Bearer {access['TENANT_KEY']}",
                "X-API-Secret": access["TENANT_SECRET"],
            }
        case "agentcache":
            return {"Authorization": f"Bearer {access['AGENTCACHE_SECRET']}"}
        case "worker":
            return {"Authorization": f"Bearer {access['EDGE_SECRET']}"}
        case "edge":
            return {"Authorization": f"Bearer {access['CHUNK_TOKEN']}"}
        case _:
            return {"Authorization": f"Bearer {access['OPS_TOKEN']}"}


def run_schemathesis(
    services: Services, api: Api, *, credentials: Mapping[str, str], max_examples: int, report: Path
) -> Outcome:
    """Run all checks against one API.

    Args:
        max_examples: for each operation and phase.
        report: where the run is told of as JSON.
    """
    environment = {
        **os.environ,
        **credentials,
        "SCHEMATHESIS_HOOKS": "tests.conformance.hooks",
        "PYTHONPATH": str(FOLDER.parents[1]),
        "NO_PROXY": "*",
    }
    command = [
        *(sys.executable, "-m", "schemathesis.cli"),
        *("--config-file", str(FOLDER / "schemathesis.toml")),
        "run",
        f"{services.urls[api.service]}/openapi.json",
        *("--include-path-regex", api.paths),
        *("--max-examples", str(max_examples)),
        *("--report-json-path", str(report)),
        "--no-color",
        *(["--report-ndjson-path", str(report) + ".nd"] if os.environ.get("ND") else []),
    ]
    ended = subprocess.run(
        command, env=environment, cwd=report.parent, capture_output=True, text=True, check=False
    )
    return Outcome(ended.returncode == 0, ended.stdout + ended.stderr)
