"""Adds the Debian packages that are installed here to a bill of materials in CycloneDX's JSON.

usage: add_debian_packages.py FILE

Packages are in the order of their names, and nothing says when or where it was written: one image, one file.
"""

import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

FORMAT = "${binary:Package}\t${Package}\t${Version}\t${Architecture}\t${db:Status-Status}\n"


def main() -> int:
    """Write FILE anew."""
    path = Path(sys.argv[1])
    bill = json.loads(path.read_text())
    listed = subprocess.run(
        ["dpkg-query", "--show", f"--showformat={FORMAT}"], capture_output=True, text=True, check=True
    )
    release = platform.freedesktop_os_release()
    found = components(listed.stdout, distribution=f"{release['ID']}-{release['VERSION_ID']}")
    bill["components"] += found
    # What a package depends on is left to dpkg; each has an entry, as the file's other components have.
    bill["dependencies"] += [{"ref": each["bom-ref"]} for each in found]
    path.write_text(json.dumps(bill, indent=2) + "\n")
    return 0


def components(listed: str, *, distribution: str) -> list[dict[str, Any]]:
    """The components of CycloneDX for packages, as dpkg-query lists them in FORMAT.

    Args:
        distribution: such as `debian-12`.
    """
    rows = sorted(line.split("\t") for line in listed.splitlines())
    return [
        {
            "bom-ref": f"deb-{key}",
            "type": "library",
            "name": name,
            "version": version,
            "purl": f"pkg:deb/debian/{quote(name, safe='')}@{quote(version, safe='')}"
            f"?arch={architecture}&distro={distribution}",
        }
        for key, name, version, architecture, status in rows
        if status == "installed"
    ]


if __name__ == "__main__":
    raise SystemExit(main())
