"""The gateway's application: what it opens, in order, and how its parts are joined."""

from collections.abc import AsyncGenerator

import svcs
from fastapi import FastAPI

from jettythunder import http, telemetry
from jettythunder.broker.rpc import RpcClient
from jettythunder.broker.service import open_messaging
from jettythunder.chunk_urls import ChunkUrls
from jettythunder.chunks.attempts import Attempts
from jettythunder.chunks.store import Store as ChunkRecords
from jettythunder.database import Database
from jettythunder.hosts import HostList
from jettythunder.lifecycle import open_database, open_tracing
from jettythunder.signatures import SigningKeys
from jettythunder.slots import Slots
from jettythunder.storage import Storage, open_storage
from jettythunder.storage.probing import Probe
from storage_gateway.access.credentials import Access
from storage_gateway.access.limits import Limits
from storage_gateway.access.store import AccessStore
from storage_gateway.accounts import routes as account_routes
from storage_gateway.accounts.commands import Accounts
from storage_gateway.accounts.store import Quotas
from storage_gateway.assets import handlers as asset_handlers
from storage_gateway.assets import routes as asset_routes
from storage_gateway.assets.cache_keys import CacheKeys
from storage_gateway.assets.delete import Deleter
from storage_gateway.assets.find import Finder
from storage_gateway.assets.links import Links
from storage_gateway.assets.lost import LostObjects
from storage_gateway.assets.store import AssetStore
from storage_gateway.assets.stream import Bandwidth, Streams, StreamSlots
from storage_gateway.assets.verify import Verifier
from storage_gateway.edges import routes as edge_routes
from storage_gateway.edges import worker_routes
from storage_gateway.edges.chunks import EdgeChunks
from storage_gateway.edges.external import ExternalEdges
from storage_gateway.edges.health import HealthChecks
from storage_gateway.edges.known import Edges
from storage_gateway.edges.reads import EdgeReads
from storage_gateway.edges.store import ChunksUnderWay, EdgeStore
from storage_gateway.housekeeping import Housekeeping
from storage_gateway.messages import MESSAGES, SERVICE, SOURCE
from storage_gateway.settings import Settings
from storage_gateway.uploads import routes as upload_routes
from storage_gateway.uploads import spool_routes
from storage_gateway.uploads.dispatch import ChunkDispatcher
from storage_gateway.uploads.finish import Finisher
from storage_gateway.uploads.lease import Leases
from storage_gateway.uploads.multipart import Multipart
from storage_gateway.uploads.open import Opener
from storage_gateway.uploads.receive import FormUploads, ReceiveLimits
from storage_gateway.uploads.retention import Retention
from storage_gateway.uploads.sessions import Sessions, SessionSettings
from storage_gateway.uploads.spool import Spool, SpoolBudget
from storage_gateway.uploads.store import UploadStore

_PROBE_PREFIX = "system/storage-gateway/"

# A request tries them in this order: what is called most comes first.
_ROUTERS = (
    account_routes.tenant_router,
    asset_routes.stream_router,
    asset_routes.router,
    upload_routes.router,
    spool_routes.router,
    edge_routes.router,
    worker_routes.router,
    account_routes.router,
)


def create_app() -> FastAPI:
    """The gateway's application."""
    app = http.create_app(
        "JettyThunder storage-gateway",
        description="Uploads, downloads and streams for AgentCache's tenants.",
        settings=Settings,
        lifespan=svcs.fastapi.lifespan(lifespan),
        streamed_paths=("/api/storage/upload",),
        internal_paths=("/internal",),
    )
    for router in _ROUTERS:
        app.include_router(router)
    return app


async def lifespan(app: FastAPI, registry: svcs.Registry) -> AsyncGenerator[dict[str, object], None]:
    """Everything the gateway needs is open while inside; it is closed in the reverse order."""
    settings: Settings = app.state.settings
    telemetry.configure(SERVICE, settings)
    open_tracing(registry, settings, service=SERVICE)
    database = await open_database(registry, settings, service=SERVICE)
    storage = await open_storage(registry, settings)
    probe = Probe(storage, prefix=_PROBE_PREFIX)
    registry.register_value(Probe, probe, on_registry_close=probe.close)
    await probe.start()
    rpc = RpcClient(settings.rabbitmq_url.get_secret_value(), name=f"{SERVICE} calls")
    registry.register_value(RpcClient, rpc, on_registry_close=rpc.close)
    lost_objects = _build(registry, settings, database, storage, probe, rpc)
    messaging = await open_messaging(
        registry,
        settings,
        database,
        messages=MESSAGES,
        routers=(asset_handlers.router,),
        context={"lost_objects": lost_objects},
    )
    await messaging.start()
    app.state.drain.add(messaging.drain)
    app.state.drain.add((await svcs.Container(registry).aget(FormUploads)).drain)
    yield {}


def _build(
    registry: svcs.Registry,
    settings: Settings,
    database: Database,
    storage: Storage,
    probe: Probe,
    rpc: RpcClient,
) -> LostObjects:
    """Make the use-cases and register those that routes ask for, and those that have something to close."""
    upload_store, asset_store, access_store = (
        UploadStore(database),
        AssetStore(database),
        AccessStore(database),
    )
    limits = Limits(
        access_store,
        window_seconds=settings.rate_limit_window_ms / 1000,
        max_requests=settings.rate_limit_max_requests,
    )
    access = Access(
        access_store,
        limits,
        agentcache_secrets=settings.agentcache_secrets,
        edge_secrets=[secret.get_secret_value() for secret in settings.edge_secrets],
    )
    registry.register_value(Access, access)
    registry.register_value(Accounts, Accounts(rpc=rpc, timeout_seconds=settings.provision_timeout_seconds))
    registry.register_value(Quotas, Quotas(database))
    external = ExternalEdges(
        "" if settings.agentcache_api_url == "off" else settings.agentcache_api_url,
        HostList(settings.agentcache_edge_hosts),
    )
    health = HealthChecks(external, settings.edge_workers)
    registry.register_value(HealthChecks, health, on_registry_close=health.close)
    health.start()
    edges = Edges(
        EdgeStore(database),
        health,
        direct_url=settings.lyve_endpoint if settings.jettyspeed_direct else None,
        region=settings.lyve_region,
    )
    registry.register_value(Edges, edges)

    signing_keys = SigningKeys.parse(settings.jettythunder_signing_keys.get_secret_value())
    cache_keys = CacheKeys(asset_store, per_asset=settings.cache_keys_per_asset)
    finder = Finder(database, asset_store, cache_keys)
    registry.register_value(Finder, finder)
    bandwidth = Bandwidth(asset_store, hold_seconds=settings.stream_hold_seconds)
    registry.register_value(Bandwidth, bandwidth, on_registry_close=bandwidth.close)
    bandwidth.start()
    stream_slots = StreamSlots(
        settings.storage_read_connections,
        per_account=settings.streams_per_account,
        per_link=settings.streams_per_link,
    )
    streams = Streams(database, storage, bandwidth, stream_slots)
    registry.register_value(Streams, streams, on_registry_close=streams.close)
    registry.register_value(EdgeReads, EdgeReads(database, storage, bandwidth))
    registry.register_value(
        EdgeChunks,
        EdgeChunks(
            ChunkRecords(database, source=SOURCE),
            storage,
            signing_keys.verifying,
            Attempts(settings.edge_chunk_attempts),
            ChunksUnderWay(database, per_account=settings.edge_chunks_per_account),
        ),
    )
    links = Links(
        storage,
        bandwidth,
        signing_keys,
        public_url=settings.public_url,
        cdn_url=settings.jettyspeed_cdn_url,
        link_seconds=settings.download_link_seconds,
    )
    registry.register_value(Links, links)
    deleter = Deleter(
        database,
        asset_store,
        storage,
        late_write_seconds=settings.late_write_seconds,
        retry_seconds=settings.cleanup_retry_seconds,
    )
    registry.register_value(Deleter, deleter)
    verifier = Verifier(asset_store, rpc, timeout_seconds=settings.verify_timeout_seconds)
    registry.register_value(Verifier, verifier)

    multipart = Multipart(
        upload_store,
        storage,
        late_write_seconds=settings.late_write_seconds,
        retry_seconds=settings.cleanup_retry_seconds,
    )
    opener = Opener(upload_store, bucket=storage.bucket)
    finisher = Finisher(
        database,
        upload_store,
        asset_store,
        cache_keys,
        deleter=deleter,
        verifier=verifier,
        multipart=multipart,
    )
    leases = Leases(upload_store, lease_seconds=settings.upload_lease_seconds)
    registry.register_value(Leases, leases, on_registry_close=leases.close)
    leases.start()
    settings.spool_dir.mkdir(parents=True, exist_ok=True)
    budget = SpoolBudget(
        settings.spool_budget_bytes,
        chunk_bytes=settings.chunk_sizes.largest_bytes,
        account_share=settings.spool_account_share,
    )
    spool = Spool(settings.spool_dir, budget)
    registry.register_value(Spool, spool)
    chunk_urls = ChunkUrls.of(settings)
    registry.register_value(ChunkUrls, chunk_urls)
    uploads = FormUploads(
        upload_store,
        storage,
        spool,
        probe=probe,
        opener=opener,
        finisher=finisher,
        multipart=multipart,
        dispatcher=ChunkDispatcher(
            upload_store,
            rpc,
            chunk_urls,
            internal_url=settings.gateway_internal_url,
            timeout_seconds=settings.chunk_timeout_seconds,
        ),
        leases=leases,
        slots=Slots(settings.uploads_at_once, per_holder=settings.uploads_per_account),
        limits=ReceiveLimits(
            admission_seconds=settings.upload_admission_seconds, upload_seconds=settings.upload_max_seconds
        ),
        chunk_sizes=settings.chunk_sizes,
        chunks_in_flight=settings.chunks_in_flight_per_upload,
    )
    registry.register_value(FormUploads, uploads, on_registry_close=uploads.close)
    sessions = Sessions(
        upload_store,
        storage,
        probe=probe,
        opener=opener,
        finisher=finisher,
        multipart=multipart,
        leases=leases,
        finder=finder,
        verifier=verifier,
        signing_keys=signing_keys,
        settings=SessionSettings(
            enabled=settings.jettyspeed_enabled,
            direct=settings.jettyspeed_direct,
            chunk_size_bytes=settings.chunk_size_bytes,
            max_chunk_bytes=settings.max_session_chunk,
            session_seconds=settings.session_seconds,
            token_seconds=settings.edge_token_seconds,
            open_per_account=settings.sessions_per_account,
        ),
    )
    registry.register_value(Sessions, sessions)
    housekeeping = Housekeeping(
        finisher=finisher,
        deleter=deleter,
        multipart=multipart,
        verifier=verifier,
        retention=Retention(upload_store, keep_days=settings.closed_uploads_keep_days),
        limits=limits,
        edges=edges,
        interval_seconds=settings.housekeeping_interval_seconds,
        verify_seconds=settings.verify_seconds,
    )
    registry.register_value(Housekeeping, housekeeping, on_registry_close=housekeeping.close)
    housekeeping.start()
    return LostObjects(database, asset_store, storage, deleter)
