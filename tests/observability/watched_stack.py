"""The developer stack with everything that Prometheus scrapes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tests.support.infrastructure import choose_first_port, temporary_folder
from tests.support.logs import watched_logs

from jettythunder_dev.layout import find_layout
from jettythunder_dev.stack import Stack, StackOptions, StackSummary

SERVICES = ("storage-gateway", "provisioning", "usage-meter", "operations")


@contextmanager
def watched_stack(environment: Mapping[str, str]) -> Iterator[tuple[Stack, StackSummary]]:
    """Every service with its servers, in a folder of its own; what ends is not started again."""
    with temporary_folder() as folder:
        stack = Stack(
            StackOptions(
                data_dir=folder / "stack",
                first_port=choose_first_port(),
                environment=environment,
                cache_dir=find_layout(None, {}).cache,
                use_docker=False,
                autorestart=False,
                broker_metrics=True,
            )
        )
        watched_logs.watch(stack.layout.logs)
        try:
            yield stack, stack.up()
        finally:
            stack.down()


def targets_of(summary: StackSummary) -> dict[str, list[str]]:
    """The addresses to scrape, by job."""
    broker = [f"127.0.0.1:{summary.ports['rabbitmq-metrics']}"]
    addresses = {name: url.removeprefix("http://") for name, url in summary.services.items()}
    return {
        **{name: [addresses[name]] for name in SERVICES},
        "chunk-worker": [address for name, address in addresses.items() if name.startswith("chunk-worker")],
        "edge": [],
        "rabbitmq": broker,
        "rabbitmq-queues": broker,
    }
