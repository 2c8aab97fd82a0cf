"""`python -m jettythunder_cdn`: the desktop CDN in the foreground, without what the command line needs."""

import asyncio
import logging
import os
import sys

from jettythunder_cdn.server import serve
from jettythunder_cdn.settings import load_settings
from jettythunder_client.errors import ClientError


def main() -> int:
    """Run it; 1 where it can't start."""
    level = os.environ.get("LOG_LEVEL", "INFO").upper()
    known = level if level in logging.getLevelNamesMapping() else "INFO"
    logging.basicConfig(level=known, format="%(asctime)s %(levelname)s %(message)s")
    try:
        asyncio.run(serve(load_settings(), os.environ))
    except ClientError as error:
        sys.stderr.write(f"{error.detail}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
