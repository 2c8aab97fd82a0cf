"""Whether the service in this container answers a path with 200, for health checks.

usage: answers.py PATH [PORT]

It imports as little as it can: it is run every few seconds.
"""

import os
import socket
import sys

TIMEOUT_SECONDS = 4


def main() -> int:
    """0 where it does."""
    path, port = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 8000
    try:
        connection = socket.create_connection(("127.0.0.1", port), TIMEOUT_SECONDS)
        if os.environ.get("HTTP_TLS_CERTIFICATE"):
            connection = _encrypted(connection)
        connection.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        status = connection.makefile("rb").readline()
    except OSError:
        return 1
    return int(status.split()[1:2] != [b"200"])


def _encrypted(connection: socket.socket) -> socket.socket:
    import ssl  # noqa: PLC0415

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # The certificate names the service, and not this address.
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(connection)


if __name__ == "__main__":
    raise SystemExit(main())
