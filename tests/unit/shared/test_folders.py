"""Accounts' folders in the bucket, and what is no account's folder."""

from uuid import uuid4

import pytest

from jettythunder.folders import account_of, folder_of


def test_a_folder_leads_back_to_its_account() -> None:
    account_id = uuid4()
    assert account_of(folder_of(account_id)) == account_id


@pytest.mark.parametrize(
    "folder",
    [
        "accounts/",
        "accounts/shared/",
        "accounts/6A1DF4A7-1BE8-4D10-8A7A-6D2F2A3D9F10/",
        "accounts/6a1df4a71be84d108a7a6d2f2a3d9f10/",
        "accounts/6a1df4a7-1be8-4d10-8a7a-6d2f2a3d9f10",
        "6a1df4a7-1be8-4d10-8a7a-6d2f2a3d9f10/",
        "backups/6a1df4a7-1be8-4d10-8a7a-6d2f2a3d9f10/",
    ],
)
def test_what_no_account_was_given_is_nobodys(folder: str) -> None:
    assert account_of(folder) is None
