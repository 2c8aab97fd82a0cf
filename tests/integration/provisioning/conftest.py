"""AgentCache's and the gateway's ends of the wire, and a look at what they left behind."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias
from uuid import UUID, uuid4

import aio_pika
import asyncpg
import pytest
import pytest_asyncio
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage
from pydantic import TypeAdapter
from tests.support.infrastructure import Infrastructure, RunningService, ServiceStarter

from jettythunder import signing
from jettythunder.broker import topology
from jettythunder.broker.rpc import RpcClient
from jettythunder.contracts.accounts import AccountReply
from jettythunder.contracts.envelope import Payload
from jettythunder.contracts.replies import Denied
from jettythunder.settings import StorageSettings
from jettythunder.storage import Storage

WAIT_SECONDS = 60.0

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"

_answers: TypeAdapter[AccountReply | Denied] = TypeAdapter(AccountReply | Denied)


@dataclass(frozen=True)
class AgentCache:
    """Publishes events and takes replies, with nothing but an AMQP client."""

    channel: AbstractChannel

    async def publish(
        self,
        event_type: str,
        data: object,
        *,
        reply_to: str | None = None,
        event_id: UUID | None = None,
        time: datetime | None = None,
        headers: Mapping[str, Any] | None = None,
        exchange: str = topology.AGENTCACHE_EVENTS,
        routing_key: str | None = None,
    ) -> str:
        """Publish a CloudEvent and return its id."""
        identity = str(event_id or uuid4())
        body = {
            "specversion": "1.0",
            "id": identity,
            "source": "/agentcache",
            "type": event_type,
            "time": (time or datetime.now(UTC)).isoformat(),
            "data": data,
        }
        message = aio_pika.Message(
            json.dumps(body).encode(),
            message_id=identity,
            type=event_type,
            reply_to=reply_to,
            correlation_id=identity,
            headers=dict(headers or {}),
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        )
        target = await self.channel.get_exchange(exchange, ensure=False)
        await target.publish(message, routing_key=routing_key or event_type)
        return identity

    async def ask(self, event_type: str, data: object, **how: Any) -> AccountReply | Denied:
        """Publish with reply_to and return the answer."""
        name = f"agentcache.replies.{uuid4().hex}"
        replies = await self.channel.declare_queue(name, exclusive=True, auto_delete=True)
        await self.publish(event_type, data, reply_to=replies.name, **how)
        async with asyncio.timeout(WAIT_SECONDS), replies.iterator() as arriving:
            async for message in arriving:
                await message.ack()
                return _answers.validate_json(message.body)
        raise AssertionError("the reply queue closed")

    async def account(self, event_type: str, data: object, **how: Any) -> AccountReply:
        """Publish with reply_to and return the account that is the answer."""
        answer = await self.ask(event_type, data, **how)
        assert isinstance(answer, AccountReply), answer
        return answer


@dataclass(frozen=True)
class Gateway:
    """Sends commands as the storage-gateway does."""

    rpc: RpcClient

    async def call(self, command: Payload) -> AccountReply | Denied:
        body = await self.rpc.call(
            command, exchange=topology.COMMANDS, source="/storage-gateway", timeout_seconds=WAIT_SECONDS
        )
        return _answers.validate_json(body)

    async def account(self, command: Payload) -> AccountReply:
        """The account that is the answer."""
        answer = await self.call(command)
        assert isinstance(answer, AccountReply), answer
        return answer

    async def denial(self, command: Payload) -> Denied:
        """The refusal that is the answer."""
        answer = await self.call(command)
        assert isinstance(answer, Denied), answer
        return answer


@dataclass(frozen=True)
class Broker:
    """Looks into the event log and the dead letters."""

    connection: AbstractConnection
    channel: AbstractChannel

    async def event_log(self) -> list[AbstractIncomingMessage]:
        """Everything the event log holds at this moment."""
        fence = uuid4().hex
        await self.channel.default_exchange.publish(
            aio_pika.Message(b"", type=topology.LOG_PROBE, message_id=fence), topology.EVENT_LOG
        )
        arriving: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
        held: list[AbstractIncomingMessage] = []
        # A channel of its own: what it has prefetched beyond the fence goes with it, as streams take no nack.
        async with self.connection.channel() as reading, asyncio.timeout(WAIT_SECONDS):
            await reading.set_qos(prefetch_count=500)
            log = await reading.declare_queue(topology.EVENT_LOG, passive=True)
            await log.consume(arriving.put, arguments={"x-stream-offset": "first"})
            while (message := await arriving.get()).message_id != fence:
                await message.ack()
                held.append(message)
        return held

    async def events(self, event_type: str, **data: object) -> list[dict[str, Any]]:
        """The logged events of a type whose data has these values."""
        bodies = [json.loads(m.body) for m in await self.event_log() if m.type == event_type]
        return [b for b in bodies if data.items() <= b["data"].items()]

    async def dead_letter(self, queue: topology.ConsumerQueue, message_id: str) -> AbstractIncomingMessage:
        """Wait for this message among the dead letters; the others stay where they are."""
        dead = await self.channel.declare_queue(queue.dead_letter_queue, passive=True)
        others: list[AbstractIncomingMessage] = []
        try:
            async with asyncio.timeout(WAIT_SECONDS), dead.iterator() as arriving:
                async for message in arriving:
                    if message.message_id == message_id:
                        await message.ack()
                        return message
                    others.append(message)
        finally:
            for other in others:
                await other.nack(requeue=True)
        raise AssertionError("the dead-letter queue closed")


@dataclass(frozen=True)
class Authenticator:
    """Says which pairs the gateway would accept, by the function that it asks."""

    pool: Pool

    async def accepts(self, pair: AccountReply) -> bool:
        digest = signing.secret_digest(pair.api_secret)
        row = await self.pool.fetchrow("SELECT * FROM authenticate($1, $2)", pair.api_key, digest)
        return row is not None and row["secret_digest"] == digest


def storage_of(environment: Mapping[str, str]) -> Storage:
    """The bucket that an environment leads to."""
    known = {name.upper() for name in StorageSettings.model_fields}
    values = {name.lower(): value for name, value in environment.items() if name in known}
    return Storage(StorageSettings.model_validate(values))


@pytest.fixture(scope="package")
def provisioning(
    infrastructure: Infrastructure, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningService]:
    """The service under test. Where the session's services run too, the two share the work."""
    starter = ServiceStarter(infrastructure, tmp_path_factory.mktemp("provisioning"))
    yield starter("provisioning")
    starter.end()


@pytest.fixture(scope="package")
def environment(infrastructure: Infrastructure, provisioning: RunningService) -> Mapping[str, str]:
    """What leads to the servers that the service under test uses."""
    return infrastructure.environment


@pytest_asyncio.fixture(scope="package")
async def pool(environment: Mapping[str, str]) -> AsyncIterator[Pool]:
    async with asyncpg.create_pool(environment["DATABASE_URL"], min_size=1, max_size=4) as opened:
        yield opened


@pytest_asyncio.fixture
async def connection(environment: Mapping[str, str]) -> AsyncIterator[AbstractConnection]:
    async with await aio_pika.connect(environment["RABBITMQ_URL"]) as opened:
        yield opened


@pytest_asyncio.fixture
async def channel(connection: AbstractConnection) -> AbstractChannel:
    opened = await connection.channel(publisher_confirms=True)
    await opened.set_qos(prefetch_count=500)
    return opened


@pytest.fixture
def agentcache(channel: AbstractChannel) -> AgentCache:
    return AgentCache(channel)


@pytest.fixture
def broker(connection: AbstractConnection, channel: AbstractChannel) -> Broker:
    return Broker(connection, channel)


@pytest_asyncio.fixture(scope="package")
async def gateway(environment: Mapping[str, str]) -> AsyncIterator[Gateway]:
    rpc = RpcClient(environment["RABBITMQ_URL"], name="provisioning tests")
    yield Gateway(rpc)
    await rpc.close()


@pytest.fixture
def authenticator(pool: Pool) -> Authenticator:
    return Authenticator(pool)


@pytest_asyncio.fixture(scope="package")
async def storage(environment: Mapping[str, str]) -> AsyncIterator[Storage]:
    opened = storage_of(environment)
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
def user() -> str:
    """The id of a user no other test knows; it is no UUID."""
    return f"user-{uuid4().hex}"
