"""What is found in folders."""

from __future__ import annotations

import inspect
import os
import sys
from itertools import islice
from pathlib import Path

import pytest

from jettythunder_client.folder import FoundFile, LeftOut, Selection, Unreadable, key_of, walk


def found(folder: Path, **selection: object) -> list[str]:
    entries = walk(folder, Selection(**selection))  # type: ignore[arg-type]
    return sorted(entry.relative for entry in entries if isinstance(entry, FoundFile))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (
        "a.jpg",
        "b.txt",
        "sub/c.jpg",
        "sub/deep/d.jpg",
        ".env",
        ".git/config",
        "node_modules/e.jpg",
    ):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    return tmp_path


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        ({}, ["a.jpg", "b.txt", "node_modules/e.jpg", "sub/c.jpg", "sub/deep/d.jpg"]),
        ({"include": ["*.jpg"], "exclude": ["node_modules"]}, ["a.jpg", "sub/c.jpg", "sub/deep/d.jpg"]),
        ({"include": ["sub/*"]}, ["sub/c.jpg", "sub/deep/d.jpg"]),
        ({"include": ["/*.txt"]}, ["b.txt"]),
        ({"exclude": ["sub/deep", "*.txt", "node_modules/"]}, ["a.jpg", "sub/c.jpg"]),
        (
            {"include": ["*.jpg"], "exclude": ["deep/", "/c.jpg"]},
            ["a.jpg", "node_modules/e.jpg", "sub/c.jpg"],
        ),
        ({"include": [".*", "config"], "hidden": True}, [".env", ".git/config"]),
        ({"include": [".env"]}, []),
    ],
)
def test_patterns_choose_files(folder: Path, selection: dict[str, object], expected: list[str]) -> None:
    assert found(folder, **selection) == expected


def test_what_is_left_out_is_told_with_its_reason(folder: Path) -> None:
    (folder / "link").symlink_to("a.jpg")
    (folder / "linked").symlink_to("sub")
    os.mkfifo(folder / "pipe")
    left_out = [entry for entry in walk(folder, Selection()) if isinstance(entry, LeftOut)]
    assert sorted((entry.path.name, entry.reason, entry.kind) for entry in left_out) == [
        (".env", "hidden", "hidden"),
        (".git", "hidden", "hidden"),
        ("link", "symlink", "a symbolic link"),
        ("linked", "symlink", "a symbolic link"),
        ("pipe", "special", "a pipe"),
    ]


def test_a_folder_that_can_t_be_read_is_told_and_the_others_are_read(tmp_path: Path) -> None:
    (gone,) = list(walk(tmp_path / "nowhere", Selection()))
    assert isinstance(gone, Unreadable)
    assert "can't be read" in gone.error.detail


def test_a_folder_is_read_as_it_is_walked(tmp_path: Path) -> None:
    for number in range(100):
        (tmp_path / str(number)).touch()
    entries = walk(tmp_path, Selection())
    assert len(list(islice(entries, 10))) == 10
    for number in range(100):
        (tmp_path / str(number)).unlink()
    (tmp_path / "later").mkdir()
    entries.close()  # type: ignore[attr-defined]


def test_the_identity_of_a_found_file_is_that_of_its_upload(folder: Path) -> None:
    from jettythunder_client.state import identify

    (deep,) = (e for e in walk(folder, Selection(include=["d.jpg"])) if isinstance(e, FoundFile))
    assert deep.identity == identify(deep.path)


def test_folders_may_be_nested_deeper_than_calls(tmp_path: Path) -> None:
    folder = tmp_path / "/".join("d" * 150)
    folder.mkdir(parents=True)
    (folder / "file").touch()
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 100)
    try:
        assert [entry.path.name for entry in walk(tmp_path, Selection())] == ["file"]
    finally:
        sys.setrecursionlimit(limit)


@pytest.mark.parametrize(
    ("relative", "key"),
    [
        ("2024/a b.jpg", "photos/2024/a b.jpg"),
        ("new\nline", "photos/new_line"),
        ("a\u200bb", "photos/a_b"),
        ("x" * 506, None),
    ],
)
def test_a_path_is_a_key_that_the_service_takes(relative: str, key: str | None) -> None:
    assert key_of("photos/", relative) == key
