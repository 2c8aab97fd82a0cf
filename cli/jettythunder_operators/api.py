"""The operators' APIs over HTTP, called one after another by commands that are not asynchronous."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from decimal import Decimal
from types import TracebackType
from typing import Any, Self

import aiohttp

from jettythunder_cli.frame.output import print_warning
from jettythunder_client.config import is_cleartext
from jettythunder_client.connections import USER_AGENT
from jettythunder_client.errors import ClientError, Unreachable
from jettythunder_client.problems import NETWORK_ERRORS, describe, raise_problem

TOKEN_VARIABLE = "JETTYTHUNDER_OPS_TOKEN"  # noqa: S105 - the variable's name
_CONNECT_SECONDS = 30
_REACHED_WITHIN_SECONDS = 3.0
_LONGEST_LINE_BYTES = 64 * 1024 * 1024
_PAGE_SIZE = 500


class NoOperatorsToken(ClientError):
    """JETTYTHUNDER_OPS_TOKEN is not set: it is the token that an operator calls the services with."""

    code, status, retryable = "no_operators_token", 401, False


class OperatorsApi:
    """One service's API for operators; a context manager. Calls are not repeated.

    Args:
        url: the service's base URL.
        token: the operator's token, JETTYTHUNDER_OPS_TOKEN by default.
        url_variable: the environment variable that names the service's URL, for errors.
        exact: figures with a decimal point come as exact decimals, else as floats.
        silence_seconds: the longest silence of the service during a call; None for any.

    Raises:
        NoOperatorsToken: there is no token.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        url_variable: str,
        exact: bool = True,
        silence_seconds: float | None = 600,
    ) -> None:
        given = token or os.environ.get(TOKEN_VARIABLE)
        if not given:
            raise NoOperatorsToken
        if is_cleartext(url):
            print_warning(
                f"{url} is not encrypted: others on the network can read the operator's token. Use https://."
            )
        self.url = url.rstrip("/")
        self._url_variable = url_variable
        self._parse_float = Decimal if exact else float
        self._timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=_CONNECT_SECONDS, sock_read=silence_seconds
        )
        self._headers = {"Authorization": f"Bearer {given}"}

    def __enter__(self) -> Self:
        self._runner = asyncio.Runner()
        self._http = self._runner.run(_open_session())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._runner.run(self._http.close())
        finally:
            self._runner.close()

    def answers(self, *, within_seconds: float) -> bool:
        """Whether a service answers there that it is alive."""

        async def ask() -> bool:
            try:
                async with (
                    asyncio.timeout(within_seconds),
                    self._http.get(f"{self.url}/healthz", allow_redirects=False) as response,
                ):
                    return response.status == 200
            except NETWORK_ERRORS:
                return False

        return self._runner.run(ask())

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """One call and its JSON answer; None where there is none.

        Raises:
            ApiError: the service answered with an error.
            Unreachable: it did not answer, or not as JettyThunder does.
        """

        async def once() -> Any:
            async with self._answer(method, path, query, body, headers) as response:
                return self._parsed(await response.text())

        return self._runner.run(once())

    def pages(
        self, path: str, name: str, *, query: Mapping[str, Any] | None = None
    ) -> Iterator[dict[str, Any]]:
        """The entries of all pages, which a page has under ``name``; fetched as they are asked for."""
        wanted = {"page_size": _PAGE_SIZE, **(query or {})}
        while True:
            page = self.call("GET", path, query=wanted)
            yield from page[name]
            if page.get("next_cursor") is None:
                return
            wanted["cursor"] = page["next_cursor"]

    def lines(
        self, method: str, path: str, *, query: Mapping[str, Any] | None = None, body: Any | None = None
    ) -> Iterator[dict[str, Any]]:
        """An answer of a JSON object a line (NDJSON), read as it comes."""
        found = self._read_lines(method, path, query, body)
        try:
            while (line := self._runner.run(_next(found))) is not None:
                yield line
        finally:
            self._runner.run(found.aclose())

    async def _read_lines(
        self, method: str, path: str, query: Mapping[str, Any] | None, body: Any | None
    ) -> AsyncGenerator[dict[str, Any], None]:
        async with self._answer(method, path, query, body) as response:
            while line := await response.content.readline(max_line_length=_LONGEST_LINE_BYTES):
                if line.strip():
                    yield self._parsed(line.decode())

    def _parsed(self, text: str) -> Any:
        try:
            return json.loads(text, parse_float=self._parse_float) if text else None
        except ValueError as error:
            raise Unreachable(
                f"{self.url} did not answer as JettyThunder does: is {self._url_variable} right?"
            ) from error

    @asynccontextmanager
    async def _answer(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None,
        body: Any | None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        given = [
            (name, str(value))
            for name, values in (query or {}).items()
            for value in (values if isinstance(values, list | tuple) else [values])
            if value is not None
        ]
        try:
            async with self._http.request(
                method,
                self.url + path,
                params=given,
                json=body,
                headers={**self._headers, **(headers or {})},
                timeout=self._timeout,
                allow_redirects=False,
            ) as response:
                await raise_problem(response)
                yield response
        except NETWORK_ERRORS as error:
            raise Unreachable(
                f"Nothing answers at {self.url} ({describe(error)}): does the service run, and is "
                f"{self._url_variable} right?"
            ) from error


@contextmanager
def reachable(
    open_api: Callable[[], OperatorsApi], *, service: str, instead: str
) -> Iterator[OperatorsApi | None]:
    """A service's API; None, and a warning, where the service can't be reached or there is no token.

    Args:
        service: what the warning calls it.
        instead: the variables that name the servers which are then worked on directly.
    """
    try:
        api = open_api()
    except NoOperatorsToken:
        reason = f"{TOKEN_VARIABLE} is not set"
    else:
        with api:
            if api.answers(within_seconds=_REACHED_WITHIN_SECONDS):
                yield api
                return
        reason = f"{service} at {api.url} can't be reached"
    print_warning(f"{reason}: working directly on {instead}.")
    yield None


async def _open_session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(headers={"User-Agent": USER_AGENT}, trust_env=True)


async def _next(lines: AsyncGenerator[dict[str, Any], None]) -> dict[str, Any] | None:
    return await anext(lines, None)
