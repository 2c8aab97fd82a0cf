"""How much is computed in one transaction."""

from dataclasses import dataclass, replace
from typing import Self

_MOST_ACCOUNTS = 100
_MOST_HOURS = 31 * 24
# A transaction that is this short may as well be larger.
_QUICK_SECONDS = 1.0


@dataclass(frozen=True)
class Portion:
    """Of how many accounts, and of how many of their hours, rows are computed in one transaction."""

    accounts: int = _MOST_ACCOUNTS
    hours: int = _MOST_HOURS

    def smaller(self) -> Self:
        """After a statement that took longer than it may: fewer accounts, or fewer hours of one."""
        if self.accounts > 1:
            return replace(self, accounts=self.accounts // 4 or 1)
        return replace(self, hours=self.hours // 4 or 1)

    def of_one_account(self) -> Self:
        """Hours of one account, to see whose can't be computed."""
        return replace(self, accounts=1)

    def after(self, seconds: float) -> Self:
        """After a transaction that took so long: larger again where that was quick."""
        if seconds >= _QUICK_SECONDS:
            return self
        if self.hours < _MOST_HOURS:
            return replace(self, hours=min(self.hours * 2, _MOST_HOURS))
        return replace(self, accounts=min(self.accounts * 2, _MOST_ACCOUNTS))
