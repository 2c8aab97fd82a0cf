"""What bucket, assets, ledger, counters and hours disagree on, and how much a run looks at: pure rules."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from uuid import UUID

from usage_meter.accounts.model import Account

_COUNTERS = (
    ("counter_bytes", "ledger_bytes"),
    ("counter_reserved_bytes", "ledger_reserved_bytes"),
    ("counter_bandwidth_bytes", "ledger_bandwidth_bytes"),
    ("counter_bandwidth_reserved_bytes", "ledger_bandwidth_reserved_bytes"),
    ("counter_request_count", "ledger_request_count"),
    ("held_bytes", "ledger_reserved_bytes"),
    ("held_bandwidth_bytes", "ledger_bandwidth_reserved_bytes"),
)


class KnownAs(StrEnum):
    """Why an object is in the bucket."""

    ASSET = "asset"
    UPLOAD = "upload"
    DELETION = "deletion"


@dataclass(frozen=True)
class KnownObject:
    """An object that an asset, an open upload or a requested deletion accounts for."""

    s3_key: str
    kind: KnownAs
    asset_id: UUID | None
    size_bytes: int


@dataclass(frozen=True)
class KnownPage:
    """The objects that are known after a key and up to another."""

    after_key: str
    until_key: str
    known: Sequence[KnownObject]


@dataclass(frozen=True)
class Sources:
    """An account's bytes by its counters, its ledger's sums, its open holds and its last hourly row.

    ``hours_bytes`` is None while hours wait to be computed. ``adjusted_bytes`` are people's adjustments.
    """

    counter_bytes: int
    counter_reserved_bytes: int
    counter_bandwidth_bytes: int
    counter_bandwidth_reserved_bytes: int
    counter_request_count: int
    ledger_bytes: int
    ledger_reserved_bytes: int
    ledger_bandwidth_bytes: int
    ledger_bandwidth_reserved_bytes: int
    ledger_request_count: int
    adjusted_bytes: int
    held_bytes: int
    held_bandwidth_bytes: int
    hours_bytes: int | None


@dataclass(frozen=True)
class Orphan:
    """An object that no asset, open upload or requested deletion accounts for."""

    s3_key: str
    size_bytes: int


@dataclass(frozen=True)
class Missing:
    """An asset whose object is not there (``found_bytes`` None) or has another size."""

    asset_id: UUID
    s3_key: str
    size_bytes: int
    found_bytes: int | None


@dataclass(frozen=True)
class LedgerDrift:
    """An asset whose ledger entries don't add up to its size, or to 0 where it is gone."""

    asset_id: UUID
    ledger_bytes: int
    asset_bytes: int


@dataclass(frozen=True)
class LostHold:
    """A reservation whose upload was completed a while ago and that its event has not ended."""

    upload_id: UUID
    asset_id: UUID | None
    held_bytes: int


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What one look at an account saw.

    ``mended`` says what was done about it, ``left_alone`` what a person must look at. Of an account that is
    gone the user is unknown, and whatever lies in its folder is an orphan.
    """

    account_id: UUID
    agentcache_user_id: str | None
    bucket_bytes: int
    assets_bytes: int
    ledger_bytes: int
    counter_bytes: int
    adjusted_bytes: int
    orphans: tuple[Orphan, ...] = ()
    missing: tuple[Missing, ...] = ()
    ledger_drift: tuple[LedgerDrift, ...] = ()
    lost_holds: tuple[LostHold, ...] = ()
    counter_drift: Mapping[str, int] = field(default_factory=dict)
    hours_drift_bytes: int = 0
    mended: tuple[str, ...] = ()
    left_alone: tuple[str, ...] = ()

    @property
    def drift_bytes(self) -> int:
        """All disagreements added up without their signs, so that none hides another."""
        return (
            sum(o.size_bytes for o in self.orphans)
            + sum(abs(m.size_bytes - (m.found_bytes or 0)) for m in self.missing)
            + sum(abs(d.ledger_bytes - d.asset_bytes) for d in self.ledger_drift)
            + sum(h.held_bytes for h in self.lost_holds)
            + sum(map(abs, self.counter_drift.values()))
            + abs(self.hours_drift_bytes)
        )

    @property
    def is_clean(self) -> bool:
        """Whether nothing disagrees; an empty orphan has no bytes and is a finding all the same."""
        return not (
            self.orphans
            or self.missing
            or self.ledger_drift
            or self.lost_holds
            or self.counter_drift
            or self.hours_drift_bytes
        )

    @property
    def needs_a_person(self) -> bool:
        """Whether something disagrees that was not mended, or not all of it."""
        return not self.is_clean and (bool(self.left_alone) or not self.mended)

    @property
    def mended_bytes(self) -> int:
        """What is no drift any more; nothing where a person is needed, even for a part."""
        return 0 if self.needs_a_person else self.drift_bytes

    def seen_again(self, later: "Findings") -> "Findings":
        """Of a later look, what this one saw too."""
        return replace(
            later,
            orphans=tuple(o for o in later.orphans if o in self.orphans),
            missing=tuple(m for m in later.missing if m in self.missing),
            ledger_drift=tuple(d for d in later.ledger_drift if d in self.ledger_drift),
            lost_holds=tuple(h for h in later.lost_holds if h in self.lost_holds),
            counter_drift={
                name: size
                for name, size in later.counter_drift.items()
                if self.counter_drift.get(name) == size
            },
            hours_drift_bytes=(
                later.hours_drift_bytes if later.hours_drift_bytes == self.hours_drift_bytes else 0
            ),
        )


@dataclass(frozen=True, kw_only=True)
class Round:
    """How far the scheduled runs have come with all accounts.

    ``account_count`` were looked at, up to ``after_account_id``; there are about ``estimated_account_count``.
    """

    after_account_id: UUID | None
    account_count: int
    age_seconds: float
    estimated_account_count: int

    def due_count(self, *, interval_seconds: float, period_seconds: float) -> float:
        """How many accounts are to be looked at now so that the round ends within its period.

        As many as the time until the next run requires; where the period ends before that run, all that are
        left, however wrong the estimate was.
        """
        share = (self.age_seconds + interval_seconds) / period_seconds
        return math.inf if share >= 1 else self.estimated_account_count * share - self.account_count


@dataclass(frozen=True, kw_only=True)
class Objects:
    """What bucket and database say of the objects within a range of keys."""

    bucket_bytes: int = 0
    assets_bytes: int = 0
    orphans: tuple[Orphan, ...] = ()
    missing: tuple[Missing, ...] = ()

    def __add__(self, other: "Objects") -> "Objects":
        return Objects(
            bucket_bytes=self.bucket_bytes + other.bucket_bytes,
            assets_bytes=self.assets_bytes + other.assets_bytes,
            orphans=self.orphans + other.orphans,
            missing=self.missing + other.missing,
        )


def compare_objects(folder: str, *, listing: Mapping[str, int], known: Sequence[KnownObject]) -> Objects:
    """Set the bucket's objects within a range of keys beside those that are known there."""
    # The object that is named like the folder is the folder.
    objects = {key: size for key, size in listing.items() if key != folder}
    assets = [(each, each.asset_id) for each in known if each.asset_id is not None]
    known_keys = {each.s3_key for each in known}
    return Objects(
        bucket_bytes=sum(objects.values()),
        assets_bytes=sum(asset.size_bytes for asset, _ in assets),
        orphans=tuple(Orphan(key, size) for key, size in sorted(objects.items()) if key not in known_keys),
        missing=tuple(
            Missing(asset_id, asset.s3_key, asset.size_bytes, objects.get(asset.s3_key))
            for asset, asset_id in assets
            if objects.get(asset.s3_key) != asset.size_bytes
        ),
    )


def compare(
    account: Account,
    *,
    objects: Objects,
    ledger_drift: Sequence[LedgerDrift],
    lost_holds: Sequence[LostHold],
    sources: Sources,
) -> Findings:
    """What bucket, assets, ledger, counters and hours disagree on."""
    figures = vars(sources)
    differences = {f"{a} - {b}": figures[a] - figures[b] for a, b in _COUNTERS}
    hours_bytes = sources.ledger_bytes if sources.hours_bytes is None else sources.hours_bytes
    return Findings(
        account_id=account.id,
        agentcache_user_id=account.agentcache_user_id,
        bucket_bytes=objects.bucket_bytes,
        assets_bytes=objects.assets_bytes,
        ledger_bytes=sources.ledger_bytes,
        counter_bytes=sources.counter_bytes,
        adjusted_bytes=sources.adjusted_bytes,
        orphans=objects.orphans,
        missing=objects.missing,
        ledger_drift=tuple(ledger_drift),
        lost_holds=tuple(lost_holds),
        counter_drift={name: size for name, size in differences.items() if size},
        hours_drift_bytes=hours_bytes - sources.ledger_bytes,
    )


def compare_ownerless(account_id: UUID, *, objects: Objects, ledger_bytes: int) -> Findings:
    """What lies in the folder of an account that is gone, but for what is being deleted already."""
    return Findings(
        account_id=account_id,
        agentcache_user_id=None,
        bucket_bytes=objects.bucket_bytes,
        assets_bytes=0,
        ledger_bytes=ledger_bytes,
        counter_bytes=0,
        adjusted_bytes=0,
        orphans=objects.orphans,
    )
