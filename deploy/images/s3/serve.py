"""Serve S3 on port 8080 from one Swift node with its data in /var/lib/swift. Runs in Swift's environment.

The access key is `jetty:thunder`; S3_SECRET_FILE names the file with its secret.
Where S3_TLS_CERTIFICATE and S3_TLS_KEY name files, it is served by HTTPS.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from string import Template

TEMPLATES = Path(__file__).parent
DATA = Path("/var/lib/swift")
SETTINGS = DATA / "etc"
PORTS = {"object": 6200, "container": 6201, "account": 6202}
FAILED = 1


def main() -> int:
    """Run the node until it is told to end, or until one of its servers ends."""
    os.umask(0o077)
    SETTINGS.mkdir(exist_ok=True)
    node = [sys.executable, str(TEMPLATES / "prepare_node.py"), str(SETTINGS), str(DATA / "node")]
    subprocess.run([*node, *map(str, PORTS.values())], check=True)
    write_settings(Path(os.environ["S3_SECRET_FILE"]).read_text().strip())
    bin_folder = Path(sys.executable).parent
    servers = [
        subprocess.Popen([bin_folder / f"swift-{kind}-server", str(SETTINGS / f"{kind}.conf"), "--verbose"])
        for kind in (*PORTS, "proxy")
    ]
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: end(servers))
    os.wait()
    end(servers)
    codes = [server.wait() for server in servers]
    return FAILED if any(code > 0 for code in codes) else 0


def end(servers: list[subprocess.Popen[bytes]]) -> None:
    """Have all servers end."""
    for server in servers:
        server.terminate()


def write_settings(secret: str) -> None:
    """Write what the servers read."""
    places = {"swift_dir": str(SETTINGS), "user": "swift"}
    (SETTINGS / "swift.conf").write_text((TEMPLATES / "swift.conf").read_text())
    storage = Template((TEMPLATES / "storage.conf").read_text())
    for kind, port in PORTS.items():
        (SETTINGS / f"{kind}.conf").write_text(
            storage.substitute(places, kind=kind, port=port, devices=DATA / "node")
        )
    encryption = ""
    if certificate := os.environ.get("S3_TLS_CERTIFICATE"):
        encryption = f"cert_file = {certificate}\nkey_file = {os.environ['S3_TLS_KEY']}"
    proxy = Template((TEMPLATES / "proxy.conf").read_text()).substitute(
        places,
        host="0.0.0.0",  # noqa: S104 - of the container
        port=8080,
        region="us-east-1",
        account="jetty",
        account_user="thunder",
        secret=secret,
        encryption=encryption,
    )
    (SETTINGS / "proxy.conf").write_text(proxy)


if __name__ == "__main__":
    raise SystemExit(main())
