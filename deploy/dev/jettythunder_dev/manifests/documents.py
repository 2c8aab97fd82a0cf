"""What an overlay comes to: the objects that would be applied."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from jettythunder_dev.errors import StackError

Document = dict[str, Any]

_KUSTOMIZE = "sigs.k8s.io/kustomize/kustomize/v5"
_VERSION = "v5.7.1"
_OLDEST = (5, 0)


def rendered(overlay: Path) -> list[Document]:
    """The objects of an overlay.

    Raises:
        StackError: kustomize refuses the overlay, or there is no kustomize and none can be built.
    """
    answer = subprocess.run([*_kustomize(), str(overlay)], capture_output=True, text=True, check=False)
    if answer.returncode:
        raise StackError(f"{overlay} can't be rendered: {answer.stderr.strip()}")
    return [document for document in yaml.safe_load_all(answer.stdout) if document]


def named(document: Document) -> str:
    """What problems call an object."""
    return f"{document['kind']} {document['metadata']['name']}"


def _kustomize() -> Sequence[str]:
    """The command that renders a folder: an installed kubectl's, or one that is built from Go modules."""
    if shutil.which("kubectl") and _is_new_enough():
        return ["kubectl", "kustomize"]
    program = _cache() / f"kustomize-{_VERSION}"
    if not program.exists():
        _build(program)
    return [str(program), "build"]


def _is_new_enough() -> bool:
    answer = subprocess.run(
        ["kubectl", "version", "--client", "--output=json"], capture_output=True, text=True, check=False
    )
    try:
        version = json.loads(answer.stdout)["kustomizeVersion"]
    except (ValueError, KeyError):
        return False
    return tuple(map(int, re.findall(r"\d+", version)[:2])) >= _OLDEST


def _build(program: Path) -> None:
    if not shutil.which("go"):
        raise StackError("Overlays are rendered by kubectl 1.27 or newer, or with Go: install one of them.")
    program.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as module:
        for arguments in (
            ["mod", "init", "build"],
            ["get", f"{_KUSTOMIZE}@{_VERSION}"],
            ["build", "-trimpath", "-ldflags=-s -w", "-o", str(program), _KUSTOMIZE],
        ):
            answer = subprocess.run(
                ["go", *arguments],
                cwd=module,
                env=os.environ | {"CGO_ENABLED": "0"},
                capture_output=True,
                text=True,
                check=False,
            )
            if answer.returncode:
                raise StackError(f"kustomize can't be built: {answer.stderr.strip()}")


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jettythunder"
