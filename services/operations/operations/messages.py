"""The messages of operations: it publishes others' again and sends none of its own."""

from jettythunder.broker.topology import ServiceMessages

MESSAGES = ServiceMessages(service="operations", reads_log=True, mends=True)
