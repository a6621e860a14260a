"""What may be told of a tool server's address."""

from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from riverrun.agents.addresses import shown, without_secrets
from riverrun.agents.toolboxes import Server

KEYS = st.text(st.characters(min_codepoint=33, exclude_categories=["Cs", "Cc", "Z"]), min_size=4, max_size=30)


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("https://tools.example.org/mcp", "https://tools.example.org/…"),
        ("https://tools.example.org:8443/", "https://tools.example.org:8443/"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("https://TOKEN@tools.example.org/mcp", "https://…@tools.example.org/…"),
        ("https://me:PASS@WORD@tools.example.org", "https://…@tools.example.org"),
        ("https://tools.example.org?key=TOKEN", "https://tools.example.org/…"),
        ("https://tools.example.org#TOKEN", "https://tools.example.org/…"),
        ("npx", "npx"),
        ("npx -y some-mcp --key TOKEN", "npx …"),
        ("'/opt/my tools/serve' TOKEN", "/opt/my tools/serve …"),
        ("serve 'TOKEN", "serve …"),
        ("", "…"),
    ],
)
def test_only_where_it_leads_is_shown(address: str, told: str) -> None:
    assert shown(address) == told
    assert repr(Server("own", address)) == "Server('own')"


@pytest.mark.parametrize(
    "address",
    [
        "https://{}@tools.example.org/mcp",
        "https://me:{}@tools.example.org/mcp",
        "https://tools.example.org/s/{}/mcp",
        "https://tools.example.org/mcp?a=b&key={}",
        "https://tools.example.org/mcp#{}",
    ],
)
@given(key=KEYS, before=st.text(), after=st.text())
@example(key="a/b%2F?", before="", after="")
@example(key="+plus", before="", after="")
def test_no_sentence_quotes_a_key_of_a_url(address: str, key: str, before: str, after: str) -> None:
    whole = address.format(quote(key, safe=""))
    told = without_secrets(f"{before} {key} {quote(key, safe='')} {whole} {after}", whole)
    assert key not in told.replace("…", "\0") or key in before + after or key in shown(whole)
    assert quote(key, safe="") not in told or quote(key, safe="") in before + after + shown(whole)


@pytest.mark.parametrize(
    "command",
    ["serve --key {}", "serve --key={}", "env KEY={} serve", "serve '{}", 'serve "{}"', "serve -H 'Auth: Bearer {}'"],
)
@given(key=st.text("abcXYZ0123._/+", min_size=4))
def test_no_sentence_quotes_a_key_of_a_command(command: str, key: str) -> None:
    told = without_secrets(f"It says: {key}; {command.format(key)}", command.format(key))
    assert key not in told or key in "serve"


def test_what_is_no_key_stays_readable() -> None:
    told = "Client error '404 Not Found' for url 'https://tools.example.org/mcp'"
    assert without_secrets(told, "https://TOKEN@tools.example.org/mcp") == told
    address = "npx -y some-mcp --read-only"
    assert without_secrets("npx: there is no option --read-only", address) == "npx: there is no option --read-only"


@given(st.text() | st.text().map(lambda text: f"https://{text}"), st.text())
@example("https://[", "")
@example("https://]@[/", "")
def test_any_address_and_any_text(address: str, text: str) -> None:
    assert shown(address)
    without_secrets(text, address)
