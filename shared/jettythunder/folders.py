"""Where accounts' objects are in the bucket."""

from uuid import UUID

FOLDERS = "accounts/"


def folder_of(account_id: UUID) -> str:
    """Where an account's objects are. The object of this very name is the account's folder."""
    return f"{FOLDERS}{account_id}/"


def end_of(folder: str) -> str:
    """What comes right after all keys in a folder, in the order of their bytes."""
    return folder.removesuffix("/") + chr(ord("/") + 1)


def account_of(folder: str) -> UUID | None:
    """The account that a folder was made for, or None where it is no account's folder."""
    try:
        account_id = UUID(folder.removeprefix(FOLDERS).removesuffix("/"))
    except ValueError:
        return None
    return account_id if folder_of(account_id) == folder else None
