"""What settings make of what an administrator writes."""

from ipaddress import ip_address

import pytest
from pydantic import ValidationError

from riverrun.settings import Settings


@pytest.mark.parametrize(
    ("written", "permitted"),
    [
        ("", ["127.0.0.1", "192.168.1.7", "1.1.1.1"]),
        ("192.168.1.0/24, nas.lan:3000", ["192.168.1.7", "1.1.1.1"]),
        ("169.254.169.254,", ["169.254.169.254", "1.1.1.1"]),
    ],
)
def test_naming_what_may_be_fetched_forbids_the_rest(
    written: str, permitted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RIVERRUN_FETCH_ALLOW", written)
    allowance = Settings().fetching
    addresses = ["169.254.169.254", "127.0.0.1", "192.168.1.7", "1.1.1.1"]
    assert [one for one in addresses if allowance.permits("name", 80, ip_address(one))] == permitted


def test_what_cannot_be_allowed_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIVERRUN_FETCH_ALLOW", "http://nas.lan:3000")
    with pytest.raises(ValidationError, match=r"http://nas\.lan:3000 is neither a host"):
        Settings()
