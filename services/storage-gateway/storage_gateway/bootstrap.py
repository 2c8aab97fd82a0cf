"""Builds the gateway: opens what it talks to, wires the use-cases, and closes all of it in order."""

import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jettythunder import web
from jettythunder.auth import Signer
from jettythunder.backbone import open_backbone
from jettythunder.broker.rpc import RpcClient
from jettythunder.edge_tokens import EdgeTokens
from jettythunder.storage import Storage
from storage_gateway import consumers
from storage_gateway.access import RATE_LIMIT_STATE, Access
from storage_gateway.api import accounts, internal
from storage_gateway.api import storage as storage_api
from storage_gateway.api import uploads as uploads_api
from storage_gateway.messages import MESSAGES
from storage_gateway.repository import Repository
from storage_gateway.service.accounts import Accounts
from storage_gateway.service.assets import Assets
from storage_gateway.service.chunks import ChunkDispatcher
from storage_gateway.service.closing import Closer
from storage_gateway.service.edges import Edges
from storage_gateway.service.housekeeping import Housekeeping
from storage_gateway.service.lost import LostObjects
from storage_gateway.service.multipart import Multipart
from storage_gateway.service.objects import ObjectRemover
from storage_gateway.service.quota import Quota
from storage_gateway.service.sessions import Sessions
from storage_gateway.service.uploads import Uploads
from storage_gateway.settings import GatewaySettings
from storage_gateway.spool import Spool

NAME = "storage-gateway"


def create_app() -> FastAPI:
    """The gateway's application."""
    app = web.create_app(
        "JettyThunder storage-gateway",
        description="Uploads, downloads and streams for AgentCache's tenants.",
        settings=GatewaySettings,
        lifespan=lifespan,
    )
    app.add_middleware(RateLimitHeaders)
    for router in (accounts.router, storage_api.router, uploads_api.router, internal.router):
        app.include_router(router)
    return app


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Everything the gateway needs is open inside."""
    config: GatewaySettings = app.state.settings
    async with contextlib.AsyncExitStack() as stack:
        backbone = await stack.enter_async_context(
            open_backbone(config, name=NAME, queues=MESSAGES.queues, routers=consumers.ROUTERS)
        )
        storage = Storage(config)
        await storage.open()
        stack.push_async_callback(storage.close)
        rpc = RpcClient(config.rabbitmq_url.get_secret_value(), name=f"{NAME} calls")
        stack.push_async_callback(rpc.close)
        repository = Repository()
        pool = backbone.pool
        signing_key = config.jettythunder_signing_key.get_secret_value()
        chunk_signer = Signer(signing_key, purpose="internal-chunk")
        config.spool_dir.mkdir(parents=True, exist_ok=True)
        spool = Spool(
            config.spool_dir,
            budget_bytes=config.spool_budget_bytes,
            timeout_seconds=config.receive_timeout_seconds,
        )
        dispatcher = ChunkDispatcher(
            pool=pool,
            repository=repository,
            rpc=rpc,
            signer=chunk_signer,
            internal_url=config.gateway_internal_url,
            timeout_seconds=config.chunk_timeout_seconds,
        )
        remover = ObjectRemover(pool=pool, repository=repository, storage=storage)
        multipart = Multipart(pool=pool, repository=repository, storage=storage)
        closer = Closer(pool=pool, repository=repository, storage=storage, remover=remover)
        uploads = Uploads(
            pool=pool,
            repository=repository,
            storage=storage,
            spool=spool,
            dispatcher=dispatcher,
            closer=closer,
            multipart=multipart,
            chunk_size_bytes=config.chunk_size_bytes,
            chunks_in_flight=config.chunks_in_flight_per_upload,
            lease_seconds=config.upload_lease_seconds,
        )
        stack.push_async_callback(uploads.close)
        assets = Assets(
            pool=pool,
            repository=repository,
            storage=storage,
            remover=remover,
            link_seconds=config.download_link_seconds,
        )
        stack.push_async_callback(assets.close)
        sessions = Sessions(
            pool=pool,
            repository=repository,
            storage=storage,
            closer=closer,
            multipart=multipart,
            tokens=EdgeTokens(signing_key),
            enabled=config.jettyspeed_enabled,
            direct=config.jettyspeed_direct,
            chunk_size_bytes=config.chunk_size_bytes,
            session_seconds=config.session_seconds,
            token_seconds=config.edge_token_seconds,
        )
        edges = Edges(
            pool=pool,
            repository=repository,
            agentcache_url="" if config.agentcache_api_url == "off" else config.agentcache_api_url,
            direct_url=config.lyve_endpoint if config.jettyspeed_direct else None,
            region=config.lyve_region,
        )
        housekeeping = Housekeeping(
            pool=pool,
            repository=repository,
            storage=storage,
            interval_seconds=config.housekeeping_interval_seconds,
        )
        stack.push_async_callback(housekeeping.close)
        backbone.provide(lost=LostObjects(pool=pool, repository=repository, storage=storage))
        state = app.state
        state.access = Access(
            pool=pool,
            repository=repository,
            webhook_secret=config.agentcache_webhook_secret.get_secret_value(),
            window_seconds=config.rate_limit_window_ms / 1000,
            max_requests=config.rate_limit_max_requests,
        )
        state.accounts = Accounts(rpc=rpc, timeout_seconds=config.provision_timeout_seconds)
        state.quota = Quota(pool=pool, repository=repository)
        state.uploads, state.assets, state.spool = uploads, assets, spool
        state.sessions, state.edges = sessions, edges
        state.chunk_signer = chunk_signer
        state.stream_signer = Signer(signing_key, purpose="stream-link")
        state.public_url = config.public_url
        state.receive_timeout_seconds = config.receive_timeout_seconds
        state.ops_token = config.jettythunder_ops_token.get_secret_value()
        state.pings = {**backbone.pings, "storage": storage.ping}
        await backbone.start()
        housekeeping.start()
        yield


class RateLimitHeaders:
    """Adds the RateLimit headers that the access check noted for a request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_limited(message: Message) -> None:
            if message["type"] == "http.response.start":
                noted = scope.get("state", {}).get(RATE_LIMIT_STATE, [])
                message["headers"] = [*message.get("headers", []), *noted]
            await send(message)

        await self._app(scope, receive, send_limited)
