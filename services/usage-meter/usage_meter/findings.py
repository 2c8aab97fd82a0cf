"""What bucket, assets, ledger and counters disagree on: pure comparison."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from usage_meter.repository import Account

_COUNTERS = (
    ("counter_bytes", "ledger_bytes"),
    ("counter_reserved_bytes", "ledger_reserved_bytes"),
    ("counter_bandwidth_bytes", "ledger_bandwidth_bytes"),
    ("counter_bandwidth_reserved_bytes", "ledger_bandwidth_reserved_bytes"),
    ("counter_request_count", "ledger_request_count"),
)
_HOLDS = (
    ("held_bytes", "ledger_reserved_bytes"),
    ("held_bandwidth_bytes", "ledger_bandwidth_reserved_bytes"),
)


@dataclass(frozen=True)
class Orphan:
    """An object that no asset, open upload or wanted deletion accounts for."""

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
    counter_drift: Mapping[str, int] = field(default_factory=dict)
    mended: tuple[str, ...] = ()
    left_alone: tuple[str, ...] = ()

    @property
    def drift_bytes(self) -> int:
        """All disagreements added up without their signs, so that none hides another."""
        return (
            sum(o.size_bytes for o in self.orphans)
            + sum(abs(m.size_bytes - (m.found_bytes or 0)) for m in self.missing)
            + sum(abs(d.ledger_bytes - d.asset_bytes) for d in self.ledger_drift)
            + sum(map(abs, self.counter_drift.values()))
        )

    @property
    def is_clean(self) -> bool:
        """Whether nothing disagrees; an empty object nobody knows weighs nothing and is a finding still."""
        return not (self.orphans or self.missing or self.ledger_drift or self.counter_drift)

    @property
    def needs_a_person(self) -> bool:
        """Whether something disagrees that was not mended, or not all of it."""
        return not self.is_clean and (bool(self.left_alone) or not self.mended)

    def seen_again(self, later: "Findings") -> "Findings":
        """Of a later look, what this one saw too."""
        return replace(
            later,
            orphans=tuple(o for o in later.orphans if o in self.orphans),
            missing=tuple(m for m in later.missing if m in self.missing),
            ledger_drift=tuple(d for d in later.ledger_drift if d in self.ledger_drift),
            counter_drift={
                name: size
                for name, size in later.counter_drift.items()
                if self.counter_drift.get(name) == size
            },
        )


def compare(
    account: Account,
    *,
    listing: Mapping[str, int],
    known: list[dict[str, Any]],
    ledger_drift: list[dict[str, Any]],
    sources: Mapping[str, int],
) -> Findings:
    """What bucket, assets, ledger and counters disagree on."""
    assets = [row for row in known if row["kind"] == "asset"]
    known_keys = {row["s3_key"] for row in known}
    # The object that is named like the folder is the folder.
    objects = {key: size for key, size in listing.items() if key != account.s3_prefix}
    differences = {f"{a} - {b}": sources[a] - sources[b] for a, b in (*_COUNTERS, *_HOLDS)}
    return Findings(
        account_id=account.id,
        agentcache_user_id=account.agentcache_user_id,
        bucket_bytes=sum(objects.values()),
        assets_bytes=sum(row["size_bytes"] for row in assets),
        ledger_bytes=sources["ledger_bytes"],
        counter_bytes=sources["counter_bytes"],
        adjusted_bytes=sources["adjusted_bytes"],
        orphans=tuple(Orphan(key, size) for key, size in sorted(objects.items()) if key not in known_keys),
        missing=tuple(
            Missing(row["asset_id"], row["s3_key"], row["size_bytes"], objects.get(row["s3_key"]))
            for row in assets
            if objects.get(row["s3_key"]) != row["size_bytes"]
        ),
        ledger_drift=tuple(LedgerDrift(**row) for row in ledger_drift),
        counter_drift={name: size for name, size in differences.items() if size},
    )


def compare_ownerless(
    account_id: UUID, *, listing: Mapping[str, int], known: list[dict[str, Any]], ledger_bytes: int
) -> Findings:
    """What lies in the folder of an account that is gone, but for what is being deleted already."""
    deleting = {row["s3_key"] for row in known}
    return Findings(
        account_id=account_id,
        agentcache_user_id=None,
        bucket_bytes=sum(listing.values()),
        assets_bytes=0,
        ledger_bytes=ledger_bytes,
        counter_bytes=0,
        adjusted_bytes=0,
        orphans=tuple(Orphan(key, size) for key, size in sorted(listing.items()) if key not in deleting),
    )
