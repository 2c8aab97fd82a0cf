"""The bucket that a worker stores in and reads from."""

from jettythunder.errors import ConfigurationError


def check_bucket(asked: str, own: str) -> None:
    """Make sure that a command or a token means this worker's bucket.

    Raises:
        ConfigurationError: it means another one.
    """
    if asked != own:
        raise ConfigurationError(
            f"The gateway means the bucket {asked}, and this worker has {own}: give gateways and workers "
            "the same LYVE_BUCKET_NAME."
        )
