"""Errors that only provisioning raises."""

from jettythunder.errors import JettyThunderError


class UnknownTier(JettyThunderError):
    """There is no such tier. The tiers are free, starter, pro, business and enterprise."""

    code, status, retryable = "unknown_tier", 422, False


class UserIdTaken(JettyThunderError):
    """This user id maps to the account of another user id. Use the id that the account was made with."""

    code, status, retryable = "user_id_taken", 409, False


class AccountNotProvisionedYet(JettyThunderError):
    """There is no account for this user yet. Its sign-up may still be on the way, so this is tried again."""

    code, status, retryable = "account_not_provisioned_yet", 404, True
