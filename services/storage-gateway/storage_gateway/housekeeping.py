"""Periodic clean-up: uploads whose gateway stopped, assets that have expired, objects that are left over.

Any number of gateways run it at once: each row is locked or claimed by the one that works on it.
"""

from jettythunder.lifecycle import Periodic
from storage_gateway.access.limits import Limits
from storage_gateway.assets.delete import Deleter
from storage_gateway.assets.verify import Verifier
from storage_gateway.edges.known import Edges
from storage_gateway.uploads.finish import Finisher
from storage_gateway.uploads.multipart import Multipart
from storage_gateway.uploads.retention import Retention


class Housekeeping:
    """Periodic work of the gateway; each kind goes on when another fails.

    Args:
        interval_seconds: from the end of one run to the start of the next.
        verify_seconds: how often one asset's claimed hash is verified.
    """

    def __init__(
        self,
        *,
        finisher: Finisher,
        deleter: Deleter,
        multipart: Multipart,
        verifier: Verifier,
        retention: Retention,
        limits: Limits,
        edges: Edges,
        interval_seconds: float,
        verify_seconds: float,
    ) -> None:
        self._work = [
            Periodic(name, work, interval_seconds=interval_seconds, max_backoff_seconds=interval_seconds)
            for name, work in (
                ("expire-uploads", finisher.expire),
                ("forget-closed-uploads", retention.forget_closed),
                ("expire-assets", deleter.expire),
                ("abort-leftover-multiparts", multipart.abort_leftovers),
                ("delete-objects", deleter.delete_objects),
                ("forget-rate-limits", limits.forget_old),
                ("watch-edges", edges.watch),
            )
        ]
        self._work.append(
            Periodic("verify-hashes", verifier.verify_one, interval_seconds=verify_seconds, at_start=False)
        )

    def start(self) -> None:
        """Run in the background."""
        for work in self._work:
            work.start()

    async def close(self) -> None:
        """Stop; what is cut off is done by the next run."""
        for work in self._work:
            await work.close()
