"""What all services share: contracts, broker, outbox, database, object storage, HTTP and lifecycle."""

import warnings
from importlib.metadata import version

__version__ = version("jettythunder")

# svcs imports FastAPI's test client, which warns of a library that no service uses it with.
warnings.filterwarnings("ignore", message="Using `httpx` with `starlette.testclient`", category=UserWarning)
