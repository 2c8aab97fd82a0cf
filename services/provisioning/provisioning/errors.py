"""Errors that only provisioning raises."""

from jettythunder.errors import JettyThunderError


class AccountNotProvisionedYet(JettyThunderError):
    """There is no account for this user yet. Its sign-up may still be on the way, so this is tried again."""

    code, status, retryable = "account_not_provisioned_yet", 404, True
