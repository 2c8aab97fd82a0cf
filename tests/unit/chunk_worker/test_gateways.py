"""Which addresses are gateways'."""

import pytest

from chunk_worker.chunks.gateways import GatewayAddresses


@pytest.mark.parametrize(
    ("named", "url"),
    [
        ("", "http://anywhere/internal"),
        ("http://gateway:3000", "http://gateway:3000/internal"),
        ("http://gateway/behind/", "http://gateway/behind/internal"),
        ("http://one, http://two", "http://two/internal"),
        ("http://10.244.0.0/16", "http://10.244.3.7:8001/internal"),
        ("http://[fd00::]/16", "http://[fd00::7]:8001/internal"),
        ("http://gateway, https://10.0.0.0/8/", "https://10.9.8.7/internal"),
    ],
)
def test_these_are(named: str, url: str) -> None:
    assert url in GatewayAddresses(named)


@pytest.mark.parametrize(
    ("named", "url"),
    [
        ("http://gateway", "http://gateway.elsewhere/internal"),
        ("http://gateway", "http://gateway@elsewhere/internal"),
        ("http://gateway:3000", "http://gateway:3001/internal"),
        ("http://10.244.0.0/16", "http://10.245.3.7:8001/internal"),
        ("http://10.244.0.0/16", "http://10.244.3.7@elsewhere/internal"),
        ("http://10.244.0.0/16", "http://10.244.3.7.elsewhere/internal"),
        ("https://10.244.0.0/16", "http://10.244.3.7/internal"),
        ("http://10.244.0.0/16", "http://gateway/internal"),
        ("http://[fd00::]/16", "http://10.244.3.7/internal"),
    ],
)
def test_these_are_not(named: str, url: str) -> None:
    assert url not in GatewayAddresses(named)


@pytest.mark.parametrize("named", ["http://10.0.0.0/33", "http://[fd00::]/129"])
def test_a_network_that_is_none_is_refused(named: str) -> None:
    with pytest.raises(ValueError, match="does not appear to be"):
        GatewayAddresses(named)
