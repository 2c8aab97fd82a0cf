"""AgentCache's calls, carried out by the provisioning service over request and reply."""

from pydantic import ConfigDict, TypeAdapter

from jettythunder.broker import topology
from jettythunder.broker.rpc import RpcClient
from jettythunder.contracts.accounts import AccountReply
from jettythunder.contracts.envelope import Payload
from jettythunder.contracts.replies import Denied
from jettythunder.errors import BrokerUnavailable, restored
from storage_gateway.errors import ProvisioningUnavailable
from storage_gateway.messages import SOURCE

_reply: TypeAdapter[AccountReply | Denied] = TypeAdapter(
    AccountReply | Denied,
    # An error of an answer must not show the credentials in it.
    config=ConfigDict(hide_input_in_errors=True),
)


class Accounts:
    """Sends account commands and waits for their answers."""

    def __init__(self, *, rpc: RpcClient, timeout_seconds: float) -> None:
        self._rpc = rpc
        self._timeout_seconds = timeout_seconds

    async def ask(self, command: Payload) -> AccountReply:
        """Have an account command carried out.

        Raises:
            ProvisioningUnavailable: no answer in time; safe to repeat.
            JettyThunderError: the error provisioning answered with.
        """
        try:
            body = await self._rpc.call(
                command, exchange=topology.COMMANDS, source=SOURCE, timeout_seconds=self._timeout_seconds
            )
        except (TimeoutError, BrokerUnavailable) as error:
            raise ProvisioningUnavailable from error
        reply = _reply.validate_json(body)
        if isinstance(reply, Denied):
            raise restored(reply.code, reply.detail, status=reply.status, retryable=reply.retryable)
        return reply
