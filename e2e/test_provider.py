"""Signing in at a provider, which is another site: with its own pages, in a browser with JavaScript and without."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from e2e.conftest import SETTINGS, OpenPage
from e2e.looks import check_looks
from e2e.watch import Watch
from tests.model_server import ModelServer
from tests.oidc_provider import OidcProvider
from tests.server import Server


@pytest.fixture(scope="module")
def provider() -> Iterator[OidcProvider]:
    with OidcProvider.running() as running:
        yield running


@pytest.fixture(scope="module")
def team_server(
    provider: OidcProvider, model_server: ModelServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """Where whoever the provider knows comes in, once it is set up."""
    server = Server(tmp_path_factory.mktemp("team"), RIVERRUN_MODEL_URL=model_server.url, **SETTINGS)
    with server.start(RIVERRUN_OIDC_NEW="anyone", **provider.settings(server)) as running:
        yield running


@pytest.fixture
def may_leave(watch: Watch, provider: OidcProvider) -> None:
    watch.expect(f"request to somebody else: {provider.issuer}/", r"favicon\.ico")


@pytest.fixture
def arrive(open_page: OpenPage, team_server: Server, may_leave: None) -> OpenPage:
    def arrive(path: str, **options: bool) -> Page:
        page = open_page(team_server.url, **options)
        page.goto(path)
        return page

    return arrive


def sign_in_there(page: Page, name: str) -> None:
    expect(page).to_have_url(re.compile(r"^http://localhost:\d+/interaction/"))
    page.get_by_placeholder("Enter any login").fill(name)
    page.get_by_placeholder("and password").fill("there only")
    page.get_by_role("button", name="Sign-in").click()
    page.get_by_role("button", name="Continue").click()


def test_the_first_account_is_made_at_the_provider(arrive: OpenPage, team_server: Server) -> None:
    page = arrive("/")
    code = re.search(r"the code is (\w+)", team_server.log.read_text())
    assert code
    page.get_by_label("Code").fill(code[1])
    page.get_by_role("button", name="Example ID").click()
    sign_in_there(page, "ada")
    expect(page).to_have_url(f"{team_server.url}/")
    page.goto("/people")
    expect(page.get_by_role("list", name="People")).to_contain_text("ada (you)")


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "plain"])
def test_one_signs_in_and_lands_where_one_wanted_to(scripts: bool, arrive: OpenPage, team_server: Server) -> None:
    page = arrive("/projects", java_script_enabled=scripts)
    page.get_by_role("button", name="Example ID").click()
    name = f"bob-{scripts}".lower()
    sign_in_there(page, name)
    expect(page).to_have_url(f"{team_server.url}/projects")
    page.goto("/account")
    expect(page.get_by_text(f"You are {name}.")).to_be_visible()
    page.get_by_role("button", name="Sign out", exact=True).click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "plain"])
def test_who_declines_there_is_told_so_here(scripts: bool, arrive: OpenPage, watch: Watch) -> None:
    watch.expect("403")
    page = arrive("/sign-in", java_script_enabled=scripts)
    page.get_by_role("button", name="Example ID").click()
    page.get_by_role("link", name="Cancel").click()
    expect(page.get_by_text("You were not signed in: Example ID says that it was declined there.")).to_be_visible()
    expect(page.get_by_role("button", name="Example ID")).to_be_visible()


def test_the_way_there_can_be_seen(open_page: OpenPage, team_server: Server) -> None:
    page = open_page(team_server.url, bypass_csp=True)
    page.goto("/sign-in")
    check_looks(page)
