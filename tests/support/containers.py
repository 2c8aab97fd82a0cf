"""PostgreSQL and RabbitMQ as containers for tests, where a Docker engine answers and holds the images."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import docker
from docker.errors import DockerException
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer
from tests.support.waiting import eventually_sync

from jettythunder_dev.clients import ping_broker, ping_database

POSTGRES_IMAGE = "postgres:17-alpine"
RABBITMQ_IMAGE = "rabbitmq:4-alpine"
NAME = "jettythunder"
START_SECONDS = 90


@dataclass(frozen=True)
class Containers:
    """Running containers by role, and the variables that lead to them."""

    variables: dict[str, str]
    by_role: dict[str, Any]


def containers_are_possible() -> bool:
    """Whether an engine answers and has the images; nothing is pulled.

    The image of the containers' reaper is needed too, unless TESTCONTAINERS_RYUK_DISABLED is true.
    """
    reaper = () if testcontainers_config.ryuk_disabled else (testcontainers_config.ryuk_image,)
    try:
        client = docker.from_env(timeout=5)
        for image in (POSTGRES_IMAGE, RABBITMQ_IMAGE, *reaper):
            client.images.get(image)
    except DockerException:
        return False
    return True


@contextmanager
def running_containers(*, postgres_port: int, rabbitmq_port: int) -> Iterator[Containers]:
    """Both servers, answering, published on the given ports so that these survive a restart."""
    password = secrets.token_urlsafe(16)
    postgres = DockerContainer(POSTGRES_IMAGE).with_bind_ports(5432, postgres_port)
    rabbitmq = DockerContainer(RABBITMQ_IMAGE).with_bind_ports(5672, rabbitmq_port)
    with ExitStack() as running:
        for variable, value in (("USER", NAME), ("PASSWORD", password), ("DB", NAME)):
            postgres.with_env(f"POSTGRES_{variable}", value)
        for variable, value in (("USER", NAME), ("PASS", password)):
            rabbitmq.with_env(f"RABBITMQ_DEFAULT_{variable}", value)
        running.enter_context(postgres)
        running.enter_context(rabbitmq)
        variables = {
            "DATABASE_URL": f"postgresql://{NAME}:{password}@127.0.0.1:{postgres_port}/{NAME}",
            "RABBITMQ_URL": f"amqp://{NAME}:{password}@127.0.0.1:{rabbitmq_port}/",
        }
        eventually_sync(
            lambda: _answer(variables["DATABASE_URL"], variables["RABBITMQ_URL"]),
            timeout_seconds=START_SECONDS,
        )
        yield Containers(
            variables,
            {"postgres": postgres.get_wrapped_container(), "rabbitmq": rabbitmq.get_wrapped_container()},
        )


def _answer(database_url: str, rabbitmq_url: str) -> bool:
    try:
        ping_database(database_url)
        ping_broker(rabbitmq_url)
    except Exception:  # a server that starts refuses in many ways, all meaning: not yet
        return False
    return True
