"""Who uploads: this API, and the programs that it is compared with; each to the same S3 server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol, TypeAlias
from uuid import uuid4

import aiohttp
import boto3
from botocore.config import Config
from tests.performance.stack import Account
from tests.support.infrastructure import S3Access
from tests.support.s3 import opened_s3
from tests.support.waiting import eventually_sync

from jettythunder_dev.ports import PortAllocator

MB = 1_000_000
MOST_SECONDS = 3600.0
PREFIX = "bench"
# No `Expect: 100-continue`, for which some servers would make curl wait.
CURL = ("curl", "--fail-with-body", "--silent", "--show-error", "-H", "Expect:")
_TUS = {"Tus-Resumable": "1.0.0"}
_TUS_BYTES = {"Content-Type": "application/offset+octet-stream"}

Send: TypeAlias = Callable[[bytes], Awaitable[None]]


class Contender(Protocol):
    """One way to upload."""

    @property
    def name(self) -> str: ...

    async def put(self, file: Path) -> float:
        """Upload a file; the seconds of the client's processes."""

    async def remove(self) -> None:
        """Remove what was put last."""


class SmallContender(Protocol):
    """One way to upload many small files over kept connections."""

    @property
    def name(self) -> str: ...

    def sender(self) -> AbstractAsyncContextManager[Send]:
        """What uploads one of them."""


class Api:
    """This API's form uploads."""

    name = "API"

    def __init__(self, gateway_url: str, account: Account) -> None:
        self._storage_url = f"{gateway_url}/api/storage"
        self._account = account
        self.asset_id = ""

    async def put(self, file: Path) -> float:
        url = f"{self._storage_url}/upload"
        answer, seconds = await run_program(
            *CURL, *self._account.curl_headers, "-F", f"file=@{file}", url, environment={}
        )
        asset = json.loads(answer)["asset"]
        _require_size(self.name, asset["size_bytes"], file)
        self.asset_id = asset["id"]
        return seconds

    async def get(self) -> None:
        """Read what was put last."""
        url = f"{self._storage_url}/stream/{self.asset_id}"
        await run_program(*CURL, *self._account.curl_headers, "-o", os.devnull, url, environment={})

    async def remove(self) -> None:
        url = f"{self._storage_url}/assets/{self.asset_id}"
        await run_program(*CURL, *self._account.curl_headers, "-X", "DELETE", url, environment={})

    @contextlib.asynccontextmanager
    async def sender(self) -> AsyncIterator[Send]:
        async with aiohttp.ClientSession(headers=self._account.headers) as http:

            async def send(content: bytes) -> None:
                form = aiohttp.FormData()
                form.add_field("file", content, filename="small.bin")
                async with http.post(f"{self._storage_url}/upload", data=form) as answer:
                    await require(answer, 201)

            yield send


class _Direct:
    """What clients of the S3 server have in common."""

    def __init__(self, s3: S3Access) -> None:
        self._s3 = s3
        self._key = ""

    def _new_key(self) -> str:
        self._key = f"{PREFIX}/{uuid4()}"
        return self._key

    async def remove(self) -> None:
        async with opened_s3(self._s3) as client:
            await client.delete_object(Bucket=self._s3.bucket, Key=self._key)


class AwsCli(_Direct):
    """`aws s3 cp`, which sends ten parts at a time."""

    name = "aws s3 cp"

    async def put(self, file: Path) -> float:
        aws = str(Path(sys.executable).with_name("aws"))
        target = f"s3://{self._s3.bucket}/{self._new_key()}"
        command = [aws, "s3", "cp", str(file), target, "--endpoint-url", self._s3.endpoint, "--no-progress"]
        _, seconds = await run_program(*command, environment=aws_environment(self._s3))
        return seconds


class SinglePut(_Direct):
    """One PUT: by curl to a presigned URL, and of small files by aioboto3."""

    name = "single PUT"

    async def put(self, file: Path) -> float:
        client = boto3.client(
            "s3",
            endpoint_url=self._s3.endpoint,
            region_name=self._s3.region,
            aws_access_key_id=self._s3.access_key_id,
            aws_secret_access_key=self._s3.secret_access_key,
            config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
        )
        params = {"Bucket": self._s3.bucket, "Key": self._new_key()}
        url = client.generate_presigned_url("put_object", Params=params)
        _, seconds = await run_program(*CURL, "-T", str(file), url, environment={})
        return seconds

    @contextlib.asynccontextmanager
    async def sender(self) -> AsyncIterator[Send]:
        async with opened_s3(self._s3) as client:

            async def send(content: bytes) -> None:
                await client.put_object(Bucket=self._s3.bucket, Key=self._new_key(), Body=content)

            yield send


class Tusd(_Direct):
    """tusd with its S3 store, by tus 1.0.0: a file is one POST and one PATCH, a small file one POST."""

    name = "tusd"

    def __init__(self, s3: S3Access, url: str, pid: int) -> None:
        super().__init__(s3)
        self.pid = pid
        self._url = url

    async def put(self, file: Path) -> float:
        length = f"Upload-Length: {_size_of(file)}"
        created, creating_seconds = await self._curl("-X", "POST", "-H", length, self._url)
        location = created["location"]
        # An upload's name is that of its object, and the multipart upload's id.
        self._key = f"{PREFIX}/{location.rpartition('/')[2].partition('+')[0]}"
        patch = ["-X", "PATCH", "-H", "Upload-Offset: 0", *_header_arguments(_TUS_BYTES), "-T", str(file)]
        patched, sending_seconds = await self._curl(*patch, location)
        _require_size(self.name, int(patched["upload-offset"]), file)
        return creating_seconds + sending_seconds

    async def _curl(self, *arguments: str) -> tuple[dict[str, str], float]:
        """The answer's headers, and the seconds."""
        given = [*CURL, "-D", "-", "-o", os.devnull, *_header_arguments(_TUS), *arguments]
        head, seconds = await run_program(*given, environment={})
        lines = [line.partition(":") for line in head.splitlines()]
        return {name.lower(): value.strip() for name, _, value in lines}, seconds

    @contextlib.asynccontextmanager
    async def sender(self) -> AsyncIterator[Send]:
        async with aiohttp.ClientSession(headers=_TUS) as http:

            async def send(content: bytes) -> None:
                headers = {**_TUS_BYTES, "Upload-Length": str(len(content))}
                async with http.post(self._url, data=content, headers=headers) as answer:
                    await require(answer, 201)
                    if answer.headers.get("Upload-Offset") != str(len(content)):
                        raise RuntimeError(f"tusd did not take a file with its creation: {answer.headers}")

            yield send


def find_tusd() -> str | None:
    """The program that $TUSD names, else the one on the PATH."""
    return os.environ.get("TUSD") or shutil.which("tusd")


@contextlib.contextmanager
def running_tusd(program: str, s3: S3Access, folder: Path, *, first_port: int) -> Iterator[Tusd]:
    """tusd with its defaults, storing in the bucket."""
    with contextlib.closing(PortAllocator(remembered={}, held={})) as ports:
        port = ports.choose("tusd", first_port)
        store = ["-s3-bucket", s3.bucket, "-s3-endpoint", s3.endpoint, "-s3-object-prefix", f"{PREFIX}/"]
        with (folder / "tusd.log").open("wb") as log:
            process = subprocess.Popen(
                [program, "-host", "127.0.0.1", "-port", str(port), "-base-path", "/files/", *store],
                env={"PATH": os.environ["PATH"], "TMPDIR": str(folder), **aws_environment(s3)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            eventually_sync(lambda: _listens(process, folder / "tusd.log"), timeout_seconds=30)
            yield Tusd(s3, f"http://127.0.0.1:{port}/files/", process.pid)
        finally:
            process.kill()
            process.wait()


def _listens(process: subprocess.Popen[bytes], log: Path) -> bool:
    written = log.read_text(errors="replace")
    if process.poll() is not None:
        raise RuntimeError(f"tusd ended with {process.returncode}: {written}")
    return bool(re.search(r"can now upload", written))


def aws_environment(s3: S3Access) -> dict[str, str]:
    """The access as AWS's tools and libraries take it, without checksums that S3 servers may not know."""
    return {
        "AWS_ACCESS_KEY_ID": s3.access_key_id,
        "AWS_SECRET_ACCESS_KEY": s3.secret_access_key,
        "AWS_DEFAULT_REGION": s3.region,
        "AWS_REGION": s3.region,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
    }


async def run_program(*arguments: str, environment: dict[str, str]) -> tuple[str, float]:
    """Run a program to its end; what it printed, and its seconds.

    Raises:
        RuntimeError: it failed.
    """
    began = time.perf_counter()
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    process = await asyncio.create_subprocess_exec(
        *arguments,
        env={**inherited, **environment},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(MOST_SECONDS):
            out, err = await process.communicate()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    if process.returncode != 0:
        raise RuntimeError(f"{arguments[0]} failed: {out.decode()}{err.decode()}")
    return out.decode(), time.perf_counter() - began


async def at_once(work: Callable[[], Awaitable[None]], count: int, *, concurrency: int) -> float:
    """Do the work so many times, some at once; the seconds it took."""
    todo = iter(range(count))

    async def take() -> None:
        for _ in todo:
            await work()

    began = time.perf_counter()
    async with asyncio.TaskGroup() as takers:
        for _ in range(concurrency):
            takers.create_task(take())
    return time.perf_counter() - began


async def require(answer: aiohttp.ClientResponse, status: int) -> None:
    """Read the answer.

    Raises:
        RuntimeError: it has another status.
    """
    body = await answer.read()
    if answer.status != status:
        raise RuntimeError(f"{answer.method} {answer.url} gave {answer.status}: {body.decode()}")


def fill(file: Path, size_bytes: int) -> None:
    """Write a file of fresh random bytes: the same bytes twice would be stored once."""
    with file.open("wb") as opened:
        for start in range(0, size_bytes, MB):
            opened.write(os.urandom(min(MB, size_bytes - start)))


def _header_arguments(headers: dict[str, str]) -> list[str]:
    return [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]


def _require_size(name: str, size_bytes: int, file: Path) -> None:
    if size_bytes != _size_of(file):
        raise RuntimeError(f"{name} stored {size_bytes} bytes of {_size_of(file)}.")


def _size_of(file: Path) -> int:
    return file.stat().st_size
