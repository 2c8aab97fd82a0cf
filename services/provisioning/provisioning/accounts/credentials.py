"""Credentials of accounts: derived from a master key, never stored."""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from jettythunder import signing
from jettythunder.errors import ConfigurationError
from provisioning.accounts.model import Account

_SINGLE = "JETTYTHUNDER_MASTER_KEY is the key with the id 1."


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """A key and its secret, of one master key. Never logged, never stored, never in an event."""

    api_key: str
    api_secret: str
    master_key_id: str

    @property
    def secret_digest(self) -> str:
        """What is stored of the secret."""
        return signing.secret_digest(self.api_secret)

    def __repr__(self) -> str:
        return "Credentials(…)"


class MasterKeys:
    """What all credentials are derived from: the same key, account and version always give the same pair.

    Args:
        keys: the keys by their ids, each of at least 32 characters. The first is the newest, which new pairs
            are derived from; the others are there for pairs that were derived from them.
        environment: ``live`` or ``test``, the kind of credentials that new accounts get.
    """

    def __init__(self, keys: Mapping[str, str], *, environment: str) -> None:
        self._keys = dict(keys)
        self._environment = environment

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids, the newest key's first."""
        return tuple(self._keys)

    @property
    def newest_id(self) -> str:
        return self.ids[0]

    def fingerprint(self, key_id: str) -> str:
        """What tells a key from others, and does not give it away."""
        return signing.derive(self._keys[key_id], info="fingerprint", length_bytes=16).hex()

    def derive(self, account_id: UUID, *, version: int) -> Credentials:
        """The pair of a new version of an account's credentials."""
        return self._derive(self.newest_id, account_id, version=version, environment=self._environment)

    def credentials_of(self, account: Account) -> Credentials:
        """An existing account's pair, from the master key and in the environment that it was made with.

        Raises:
            ConfigurationError: the account's pair was derived from another master key. The pair derived from
                this one would not be accepted anywhere.
        """
        key_id = account.master_key_id
        if key_id not in self._keys:
            raise ConfigurationError(_missing([key_id]))
        derived = self._derive(
            key_id,
            account.id,
            version=account.credential_version,
            environment=account.api_key.split("_")[1],
        )
        same_key = signing.matches(derived.api_key, account.api_key)
        if not (signing.matches(derived.secret_digest, account.api_secret) and same_key):
            raise ConfigurationError(_another(key_id))
        return derived

    def check_holds(self, needed: Mapping[str, Account]) -> None:
        """Make sure that the ring has what stored credentials were derived from.

        Args:
            needed: an account of each key that accounts' pairs were derived from, by the key's id.

        Raises:
            ConfigurationError: keys are missing, which are named by their ids, or one is another key.
        """
        if missing := sorted(set(needed) - set(self.ids)):
            raise ConfigurationError(_missing(missing))
        for account in needed.values():
            self.credentials_of(account)

    def check_fingerprint(self, key_id: str, known: str) -> None:
        """Make sure that a key is the one that was first started with under its id.

        Raises:
            ConfigurationError: it is another one.
        """
        if self.fingerprint(key_id) != known:
            raise ConfigurationError(_another(key_id))

    def _derive(self, key_id: str, account_id: UUID, *, version: int, environment: str) -> Credentials:
        key, secret = signing.credentials(
            self._keys[key_id], account_id=account_id, version=version, environment=environment
        )
        return Credentials(api_key=key, api_secret=secret, master_key_id=key_id)


def _missing(ids: list[str]) -> str:
    return (
        "JETTYTHUNDER_MASTER_KEYS lacks keys that credentials of accounts were derived from, those with the "
        f"ids {', '.join(ids)}: add them, and take a key out only when `jettythunder keys list` shows no "
        f"account of it. {_SINGLE}"
    )


def _another(key_id: str) -> str:
    return (
        f"The master key with the id {key_id} is not the key that was used under this id before: set the "
        f"original one, and give a new key an id of its own. {_SINGLE}"
    )
