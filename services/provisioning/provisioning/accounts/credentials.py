"""Credentials of accounts: derived from the master key, never stored."""

from dataclasses import dataclass
from uuid import UUID

from jettythunder import signing
from jettythunder.errors import ConfigurationError
from provisioning.accounts.model import Account


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """A key and its secret. Never logged, never stored, never in an event."""

    api_key: str
    api_secret: str

    @property
    def secret_digest(self) -> str:
        """What is stored of the secret."""
        return signing.secret_digest(self.api_secret)

    def __repr__(self) -> str:
        return "Credentials(…)"


class MasterKey:
    """What all credentials are derived from: the same account and version always give the same pair.

    Args:
        key: the key, at least 32 characters.
        environment: ``live`` or ``test``, the kind of credentials that new accounts get.
    """

    def __init__(self, key: str, *, environment: str) -> None:
        self._key = key
        self._environment = environment

    def derive(self, account_id: UUID, *, version: int) -> Credentials:
        """The pair of a new version of an account's credentials."""
        return self._derive(account_id, version=version, environment=self._environment)

    def credentials_of(self, account: Account) -> Credentials:
        """An existing account's pair, in the environment its key was made for.

        Raises:
            ConfigurationError: the account's pair was derived from another master key. The pair derived from
                this one would not be accepted anywhere.
        """
        derived = self._derive(
            account.id, version=account.credential_version, environment=account.api_key.split("_")[1]
        )
        same_key = signing.matches(derived.api_key, account.api_key)
        if not (signing.matches(derived.secret_digest, account.api_secret) and same_key):
            raise ConfigurationError(
                "JETTYTHUNDER_MASTER_KEY is not the key that the stored credentials were derived from: "
                "set the original one and start again."
            )
        return derived

    def _derive(self, account_id: UUID, *, version: int, environment: str) -> Credentials:
        key, secret = signing.credentials(
            self._key, account_id=account_id, version=version, environment=environment
        )
        return Credentials(api_key=key, api_secret=secret)
