"""The account, its quota and the cache, as the page shows them."""

import time
from dataclasses import replace
from typing import Any

from jettythunder_cdn.account import Account
from jettythunder_cdn.reading.cache import Cache
from jettythunder_cdn.routes import figures, listed
from jettythunder_client.client import AsyncClient
from jettythunder_client.config import Config
from jettythunder_client.errors import ClientError

_QUOTA_SECONDS = 10.0
_ANSWER_SECONDS = 2.0
_KEY_SHOWN = 12


class Overview:
    """Asks the gateway for the quota every 10 seconds, and when an upload is done."""

    def __init__(self, account: Account, cache: Cache) -> None:
        self._account = account
        self._cache = cache
        self.forget()

    def forget(self) -> None:
        """Ask again at once."""
        self._quota: dict[str, Any] | None = None
        self._problem = ""
        self._asked_at = -_QUOTA_SECONDS
        self._uploads_done = 0

    async def now(self, *, uploads_done: int) -> dict[str, Any]:
        """What is known at the moment."""
        config = self._account.signed_in
        if uploads_done != self._uploads_done:
            self._uploads_done = uploads_done
            self._asked_at = -_QUOTA_SECONDS
        if config is not None and time.monotonic() - self._asked_at >= _QUOTA_SECONDS:
            self._asked_at = time.monotonic()
            await self._ask(config)
        return {
            "account": None
            if config is None
            else {"api_url": config.api_url, "api_key": f"{config.api_key[:_KEY_SHOWN]}…"},
            "quota": self._quota,
            "problem": self._problem,
            "cache": figures(self._cache),
            "contents": listed(self._cache),
        }

    async def _ask(self, config: Config) -> None:
        try:
            async with AsyncClient(replace(config, retry_seconds=_ANSWER_SECONDS)) as client:
                self._quota = await client.api.fetch_quota()
            self._problem = ""
        except ClientError as error:
            self._problem = error.detail
