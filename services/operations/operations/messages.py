"""The messages of operations."""

from jettythunder.broker.topology import ServiceMessages
from jettythunder.contracts.accounts import RotateCredentialsV1

# The command is for operators to send; no service of ours asks for it.
MESSAGES = ServiceMessages(service="operations", sends=(RotateCredentialsV1,))
