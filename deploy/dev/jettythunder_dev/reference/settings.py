"""The table of all environment variables that services read."""

from __future__ import annotations

from pydantic.fields import FieldInfo

from jettythunder_dev.reference.markdown import code, table
from jettythunder_dev.services import service_kinds


def setting_table() -> str:
    """Each variable, with the services that read it."""
    kinds = service_kinds()
    rows: dict[tuple[str, str, str], list[str]] = {}
    for kind in kinds:
        for name, field in kind.settings_class().model_fields.items():
            rows.setdefault((name.upper(), _default(field), field.description or ""), []).append(kind.name)
    every = [kind.name for kind in kinds]
    return table(
        ("variable", "read by", "default", "meaning"),
        [
            (code(name), _readers(readers, every), default, meaning)
            for (name, default, meaning), readers in sorted(rows.items())
        ],
    )


def _readers(readers: list[str], every: list[str]) -> str:
    others = [name for name in every if name not in readers]
    if len(others) <= 1:
        return f"all but {others[0]}" if others else "all"
    return ", ".join(sorted(readers))


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default_factory is not None:
        return "computed"
    value = field.default
    if value is None:
        return "none"
    if value in ("", (), {}):
        return "empty"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    return f"`{value}`"
