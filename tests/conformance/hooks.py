"""What OpenAPI can't say of valid requests: Schemathesis's are made so here. Invalid ones are left alone."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import schemathesis
from schemathesis import HookContext

_LONGEST_WAIT_SECONDS = 0.2


@schemathesis.hook("before_call")
def keep_the_rules_that_no_schema_says(context: HookContext, case: Any, kwargs: dict[str, Any]) -> None:
    """Only for valid data; and no case waits for events that nobody sends."""
    if _is_long((case.query or {}).get("wait_seconds")):
        case.query["wait_seconds"] = _LONGEST_WAIT_SECONDS
    if _is_positive(case) and (keep := _RULES.get((case.method, case.operation.path))) is not None:
        keep(case)
        # Still valid: Schemathesis itself can't tell of bodies with bytes in them.
        case._record_starting_state()


def _is_long(wait_seconds: Any) -> bool:
    """Whether it is a valid time to wait, as a number or in digits, that takes longer than it needs to."""
    try:
        return _LONGEST_WAIT_SECONDS < float(wait_seconds) <= 30
    except (TypeError, ValueError):
        return False


def _is_positive(case: Any) -> bool:
    return case.meta is not None and case.meta.generation.mode.is_positive


def _send_the_token_s_chunk(case: Any) -> None:
    """A chunk is of the upload, the number and the size that its token says, with its MD5."""
    chunk = bytes(int(os.environ["CHUNK_BYTES"]))
    case.path_parameters = {"upload_id": os.environ["CHUNK_UPLOAD_ID"], "number": 1}
    case.headers["Content-MD5"] = base64.b64encode(hashlib.md5(chunk).digest()).decode()  # noqa: S324
    case.body = chunk


def _name_one_asset(case: Any) -> None:
    """An asset is named by exactly one of three parameters."""
    given = [name for name in ("asset_id", "key", "cache_key") if case.query.get(name) is not None]
    for name in given[1:]:
        del case.query[name]
    if not given:
        case.query["cache_key"] = "one"


def _begin_at_the_start(case: Any) -> None:
    """A cursor is one that we issued."""
    case.query.pop("cursor", None)


def _print_names(case: Any) -> None:
    """Names are of characters that can be printed, without blanks around them."""
    for name in ("agentcache_user_id", "cache_key"):
        if isinstance(given := case.body.get(name), str):
            case.body[name] = "".join(c if c.isprintable() and c != " " else "x" for c in given)
    if "agentcache_email" in case.body and not re.fullmatch(r"[!-~]+@[!-~]+", case.body["agentcache_email"]):
        case.body["agentcache_email"] = "name@example.com"


def _upload_what_fits(case: Any) -> None:
    """A file expires in the future, by one of two fields, and is no larger than the tier allows."""
    _print_names(case)
    if case.body.get("expires_at"):
        case.body["expires_at"] = (datetime.now(UTC) + timedelta(days=1)).isoformat()
        case.body.pop("ttl_seconds", None)
    if "size_bytes" in case.body:
        case.body["size_bytes"] = min(case.body["size_bytes"], 1_000_000)
    if case.body.get("content_hash") and "file" in case.body:
        # It would have to be the file's.
        del case.body["content_hash"]


def _complete_with_a_hash(case: Any) -> None:
    """The file's hash is given at the latest with its completion."""
    case.body["content_hash"] = "0" * 64


def _correct_a_metered_hour(case: Any) -> None:
    """Adjustments are of the time since there is metering, of 64 bits, and each has an id of its own."""
    case.body.pop("id", None)
    case.body["occurred_at"] = datetime.now(UTC).isoformat()
    case.body["bytes"] = max(-1000, min(case.body["bytes"], 1000))


def _set_a_price(case: Any) -> None:
    """A price has at most eight decimal places, and begins at a time that the database has."""
    if isinstance(case.body["usd_per_gb"], float):
        case.body["usd_per_gb"] = min(round(case.body["usd_per_gb"], 8), 999_999)
    case.body["effective_from"] = max(case.body["effective_from"], "1000-01-01")


def _settle_one_queue(case: Any) -> None:
    """Looking through the dead letters of all consumers takes seconds."""
    case.body["selection"] |= {"consumer": "storage-gateway.events", "everything": False}


def _look_at_one_queue(case: Any) -> None:
    """As above."""
    case.query["consumer"] = "storage-gateway.events"


def _edit_in_one_queue(case: Any) -> None:
    """As above."""
    case.body["consumer"] = "storage-gateway.events"


def _read_the_log_s_end(case: Any) -> None:
    """Reading the whole log takes a second."""
    case.query["from"] = "last"


def _search_the_log_s_end(case: Any) -> None:
    """As above."""
    case.query["since"] = datetime.now(UTC).isoformat()


_RULES: dict[tuple[str, str], Callable[[Any], None]] = {
    ("PUT", "/edge/uploads/{upload_id}/chunks/{number}"): _send_the_token_s_chunk,
    ("GET", "/api/storage/download"): _name_one_asset,
    ("GET", "/api/storage/assets"): _begin_at_the_start,
    ("GET", "/api/storage/uploads"): _begin_at_the_start,
    ("PATCH", "/api/storage/assets/{asset_id}"): _print_names,
    ("POST", "/api/storage/assets/{asset_id}/copy"): _print_names,
    ("POST", "/api/storage/upload"): _upload_what_fits,
    ("POST", "/api/storage/uploads"): _upload_what_fits,
    ("POST", "/api/storage/uploads/{upload_id}/complete"): _complete_with_a_hash,
    **{
        ("POST", f"/api/agentcache/{call}"): _print_names
        for call in ("provision", "upgrade", "rotate", "suspend", "resume")
    },
    ("POST", "/usage/adjustments"): _correct_a_metered_hour,
    ("PUT", "/usage/prices"): _set_a_price,
    ("POST", "/admin/dead-letters/retry"): _settle_one_queue,
    ("POST", "/admin/dead-letters/discard"): _settle_one_queue,
    ("GET", "/admin/events"): _read_the_log_s_end,
    ("GET", "/admin/events/{event_id}"): _search_the_log_s_end,
    ("GET", "/admin/traces/{correlation_id}"): _search_the_log_s_end,
    ("GET", "/admin/dead-letters"): _look_at_one_queue,
    ("GET", "/admin/dead-letters/{message_id}"): _look_at_one_queue,
    ("POST", "/admin/dead-letters/{message_id}/edit-and-retry"): _edit_in_one_queue,
}
