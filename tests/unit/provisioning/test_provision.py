"""Making accounts, on accounts in memory."""

import asyncio

import pytest

from jettythunder.contracts.accounts import AccountProvisionedV1, AccountReply
from jettythunder.errors import AccountNotFound, InvalidField, StorageUnavailable, UnknownTier, UserIdTaken
from provisioning.accounts.folder import Folders
from provisioning.accounts.model import Delivery, user_id_of
from provisioning.accounts.provision import ProvisionAccount

from .fakes import MASTER_KEYS, FakeBucket, FakeStore, delivery


class Provisioning:
    """The use-case with its fakes."""

    def __init__(self) -> None:
        self.store = FakeStore()
        self.bucket = FakeBucket()
        self.provision = ProvisionAccount(self.store, Folders(self.bucket), MASTER_KEYS, s3_bucket="bucket")

    async def __call__(
        self, user: str = "test-123", *, tier: str = "pro", message: Delivery | None = None
    ) -> AccountReply:
        return await self.provision(message or delivery(), user_ref=user, email="test@example.com", tier=tier)

    @property
    def provisioned(self) -> list[str]:
        return [e.agentcache_user_id for e in self.store.state.events if isinstance(e, AccountProvisionedV1)]


async def test_an_account_is_made_with_its_quota_in_force() -> None:
    provision = Provisioning()
    account = await provision()
    assert (account.created, account.tier, account.s3_bucket) == (True, "pro", "bucket")
    assert provision.store.state.quota_bytes == {account.id: 20_000_000_000}
    assert provision.provisioned == ["test-123"]


async def test_the_account_s_folder_is_made() -> None:
    provision = Provisioning()
    account = await provision()
    assert provision.bucket.keys == [account.s3_prefix] == [f"accounts/{account.id}/"]


async def test_another_call_is_answered_with_the_same_account() -> None:
    provision = Provisioning()
    first = await provision()
    assert await provision(tier="starter") == first.model_copy(update={"created": False})
    assert provision.provisioned == ["test-123"]


async def test_a_repeated_message_is_answered_with_the_account_as_it_is() -> None:
    provision = Provisioning()
    message = delivery()
    first = await provision(message=message)
    assert await provision(message=message) == first.model_copy(update={"created": False})
    assert provision.provisioned == ["test-123"]


async def test_a_repeated_message_does_not_bring_a_deleted_account_back() -> None:
    provision = Provisioning()
    await provision(message=(message := delivery()))
    provision.store.state.accounts.clear()
    with pytest.raises(AccountNotFound):
        await provision(message=message)


async def test_a_folder_that_fails_is_completed_by_the_next_call() -> None:
    provision = Provisioning()
    provision.bucket.fails = True
    with pytest.raises(StorageUnavailable, match="Repeat the call"):
        await provision(message=(message := delivery()))
    provision.bucket.fails = False
    completed = await provision(message=message)
    assert completed.created
    assert not (await provision()).created
    assert provision.bucket.keys == [completed.s3_prefix]


async def test_calls_at_once_make_one_account_and_one_folder() -> None:
    provision = Provisioning()
    answers = await asyncio.gather(*(provision() for _ in range(5)))
    assert len({answer.id for answer in answers}) == 1
    assert [answer.created for answer in answers].count(True) == 1


async def test_the_uuid_that_a_name_maps_to_does_not_get_the_name_s_account() -> None:
    provision = Provisioning()
    await provision("test-123")
    with pytest.raises(UserIdTaken) as refused:
        await provision(str(user_id_of("test-123")))
    assert (refused.value.code, refused.value.status, refused.value.retryable) == (
        "user_id_taken",
        409,
        False,
    )


async def test_the_name_that_maps_to_a_uuid_does_not_get_the_uuid_s_account() -> None:
    provision = Provisioning()
    await provision(str(user_id_of("test-123")))
    with pytest.raises(UserIdTaken):
        await provision("test-123")


async def test_a_message_that_was_refused_may_be_repeated() -> None:
    provision = Provisioning()
    message = delivery()
    with pytest.raises(UnknownTier):
        await provision(tier="gold", message=message)
    assert message not in provision.store.state.processed
    assert provision.store.state.accounts == {}


async def test_an_address_without_an_at_is_refused() -> None:
    with pytest.raises(InvalidField, match="name@domain"):
        await Provisioning().provision(delivery(), user_ref="a", email="test", tier="pro")
