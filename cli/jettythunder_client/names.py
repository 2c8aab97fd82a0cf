"""File names between this machine and the server."""

import os
import unicodedata

from jettythunder_client.errors import FileUnwritable

LONGEST_NAME_BYTES = 255


def name_to_send(name: str) -> str:
    """A local file's name as the server can take it: valid Unicode on one line.

    Bytes that are no UTF-8 become U+FFFD, control characters an underscore.
    """
    valid = os.fsencode(name).decode("utf-8", "replace")
    return "".join("_" if unicodedata.category(char) == "Cc" else char for char in valid)


def name_to_write(filename: str, *, asset_id: str) -> str:
    """The local name of an asset whose name the server gave: its last component, in one folder only.

    Raises:
        FileUnwritable: it is a hidden file's name, or too long for a file, so the user has to choose one.
    """
    last = filename.replace("\\", "/").rsplit("/", 1)[-1]
    name = "".join("_" if unicodedata.category(char)[0] == "C" else char for char in last) or asset_id
    if name.startswith("."):
        raise FileUnwritable(f"The asset's name is {name}, a hidden file's: name the file with --output.")
    if len(os.fsencode(name)) > LONGEST_NAME_BYTES:
        raise FileUnwritable(f"The asset's name is too long for a file ({name}): name it with --output.")
    return name
