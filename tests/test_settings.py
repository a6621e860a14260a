"""What settings make of what an administrator writes."""

from ipaddress import ip_address
from typing import Any

import pytest
from pydantic import ValidationError

from riverrun.agents.fetching import Allowance
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
    assert reached(allowance) == permitted


def test_who_has_an_account_reaches_nothing_inside_that_is_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIVERRUN_AUTH", "accounts")
    assert reached(Settings().fetching) == ["1.1.1.1"]


def reached(allowance: Allowance) -> list[str]:
    addresses = ["169.254.169.254", "127.0.0.1", "192.168.1.7", "1.1.1.1"]
    return [one for one in addresses if allowance.permits("name", 80, ip_address(one))]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"auth": "local"}, "it needs RIVERRUN_AUTH=accounts"),
        ({"oidc_client_id": ""}, "RIVERRUN_OIDC_CLIENT_ID need each other"),
        ({"oidc_issuer": ""}, "RIVERRUN_OIDC_CLIENT_ID need each other"),
        ({"oidc_issuer": "http://id.example.org"}, "an issuer is written https://host/path"),
        ({"oidc_issuer": "https://id.example.org/?tenant=1"}, "an issuer is written https://host/path"),
        ({"oidc_new": "all"}, "'invited' or 'anyone'"),
    ],
)
def test_a_provider_that_cannot_be_used_is_told_at_once(given: dict[str, Any], reason: str) -> None:
    settings = {"auth": "accounts", "oidc_issuer": "https://id.example.org", "oidc_client_id": "riverrun"}
    assert Settings(**settings).oidc_name == "Single sign-on"  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match=reason):
        Settings(**{**settings, **given})


def test_a_secret_of_the_provider_is_not_shown() -> None:
    assert "a secret" not in repr(Settings(oidc_client_secret="a secret"))


def test_what_cannot_be_allowed_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIVERRUN_FETCH_ALLOW", "http://nas.lan:3000")
    with pytest.raises(ValidationError, match=r"http://nas\.lan:3000 is neither a host"):
        Settings()
