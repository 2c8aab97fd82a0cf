"""The ring of master keys: which keys the accounts need, and moving accounts to the newest."""

from dataclasses import dataclass

from jettythunder import telemetry
from jettythunder.errors import AccountNotFound
from provisioning.accounts.credentials import MasterKeys
from provisioning.accounts.model import MasterKeyUse, User
from provisioning.accounts.rotate import give_next_pair
from provisioning.accounts.store import Store

log = telemetry.logger(__name__)


@dataclass(frozen=True, kw_only=True)
class RingEntry(MasterKeyUse):
    """The same beside the ring of this service."""

    is_newest: bool
    is_in_ring: bool


@dataclass(frozen=True, kw_only=True)
class Moved:
    """What one call of :class:`MoveAccounts` did.

    Attributes:
        moved: accounts that have a pair of the newest key now.
        is_last: whether there was nothing more to move.
    """

    moved: int
    is_last: bool


async def check_master_keys(store: Store, master_keys: MasterKeys) -> None:
    """Refuse to run with a ring that the stored credentials were not derived from, and learn its new keys.

    Raises:
        ConfigurationError: with a sentence that names the ids of the keys that are missing or wrong.
    """
    needed = await store.account_of_each_master_key()
    master_keys.check_holds({account.master_key_id: account for account in needed})
    for key_id in master_keys.ids:
        known = await store.note_master_key(key_id, fingerprint=master_keys.fingerprint(key_id))
        master_keys.check_fingerprint(key_id, known)


class MasterKeyRing:
    """What the ring is used for."""

    def __init__(self, store: Store, master_keys: MasterKeys) -> None:
        self._store = store
        self._master_keys = master_keys

    async def entries(self) -> list[RingEntry]:
        """Every key that is or was in the ring, the oldest first."""
        return [
            RingEntry(
                **vars(use),
                is_newest=use.id == self._master_keys.newest_id,
                is_in_ring=use.id in self._master_keys.ids,
            )
            for use in await self._store.master_key_uses()
        ]


class MoveAccounts:
    """Moves accounts from older master keys to the newest: each gets its next pair, derived from that.

    Guarantee: an account is moved once, however often and by however many this is done at the same time.
    """

    def __init__(self, store: Store, master_keys: MasterKeys) -> None:
        self._store = store
        self._master_keys = master_keys

    async def __call__(self, *, limit: int, grace_seconds: int) -> Moved:
        """Move up to ``limit`` accounts; the pair before stays valid for ``grace_seconds``.

        An account whose pair before is still valid is left for later, since that pair would end; not so
        without grace, which is for keys that have leaked.
        """
        users = await self._store.users_to_move(
            self._master_keys.ids[1:], also_in_grace=grace_seconds == 0, limit=limit
        )
        moved = [await self._move(User.of(user), grace_seconds=grace_seconds) for user in users]
        return Moved(moved=sum(moved), is_last=len(users) < limit)

    async def _move(self, user: User, *, grace_seconds: int) -> bool:
        try:
            async with self._store.changing() as changes:
                account = await changes.lock_account_of(user)
                if account.master_key_id == self._master_keys.newest_id:
                    return False
                event = await give_next_pair(changes, account, self._master_keys, grace_seconds=grace_seconds)
                await changes.publish(event)
        except AccountNotFound:
            return False
        log.info(event.TYPE, **event.model_dump(mode="json"))
        return True
