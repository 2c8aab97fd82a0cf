"""Render every overlay, and check what it comes to: schemas, rules, and the services' own settings."""

import sys
from collections.abc import Iterator

from jettythunder_client.errors import ClientError
from jettythunder_dev.layout import REPOSITORY
from jettythunder_dev.manifests.documents import Document, rendered
from jettythunder_dev.manifests.rules import (
    RULES,
    ends_in_time,
    gives_known_settings,
    scales_by_what_there_is,
)
from jettythunder_dev.manifests.schemas import violations
from jettythunder_dev.manifests.services import (
    default_prefetch,
    known_metrics,
    known_queues,
    known_settings,
    refusals,
    seconds_to_drain,
)

OVERLAYS = REPOSITORY / "deploy/kubernetes/overlays"


def main() -> int:
    """Print what is wrong; 1 if anything is."""
    problems = 0
    for overlay in sorted(OVERLAYS.iterdir()):
        try:
            documents = rendered(overlay)
        except ClientError as error:
            print(error, file=sys.stderr)
            return 1
        found = list(_problems(documents))
        for problem in found:
            print(f"{overlay.name}: {problem}", file=sys.stderr)
        print(f"{overlay.name}: {len(documents)} objects, {len(found)} problems")
        problems += len(found)
    return 1 if problems else 0


def _problems(documents: list[Document]) -> Iterator[str]:
    misshapen = [sentence for document in documents for sentence in violations(document)]
    if misshapen:
        # Rules take objects for what their schemas say.
        yield from misshapen
        return
    for rule in RULES:
        yield from rule(documents)
    yield from ends_in_time(documents, seconds_to_drain(documents))
    yield from gives_known_settings(documents, known_settings())
    yield from scales_by_what_there_is(documents, known_queues(), known_metrics(), default_prefetch())
    yield from refusals(documents)


if __name__ == "__main__":
    sys.exit(main())
