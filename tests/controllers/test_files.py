"""Files, documents and the sample project, as a browser without scripts uses them."""

import io
import zipfile
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.controllers.page_kit import Browser, the, with_class
from tests.controllers.test_projects import new_project, problems, tags, value
from tests.model_server import ModelServer
from tests.server import Server


@pytest.fixture
async def browser(server: Server) -> AsyncIterator[Browser]:
    async with httpx.AsyncClient(base_url=server.url, timeout=20) as client:
        yield Browser(client)


@pytest.fixture
async def project(browser: Browser) -> str:
    return await new_project(browser)


async def upload(browser: Browser, path: str, *files: tuple[str, bytes], **data: str) -> httpx.Response:
    return await browser.client.post(path, files=[("file", file) for file in files], data=data)


async def paths(browser: Browser, project: str) -> list[str]:
    page = await browser.open(f"{project}/files")
    return [link.text for link in tags(page, "a") if "/file?path=" in str(link.attributes.get("href"))]


async def test_files_are_uploaded_shown_and_downloaded_as_they_were(browser: Browser, project: str) -> None:
    sent = await upload(browser, f"{project}/files", ("a.py", b"x = 1\n"), ("dot.png", b"\x89PNG\0"), folder="src")
    assert sent.status_code == 303
    assert await paths(browser, project) == ["src/a.py", "src/dot.png"]
    shown = await browser.open(f"{project}/file?path=src/a.py")
    assert "x = 1" in the(shown, "#main").text
    binary = await browser.open(f"{project}/file?path=src/dot.png")
    assert "only be downloaded" in the(binary, "#main").text
    answer = await browser.client.get(f"{project}/file/download?path=src/dot.png")
    assert answer.content == b"\x89PNG\0"
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == "attachment; filename=\"dot.png\"; filename*=UTF-8''dot.png"
    archive = await browser.client.get(f"{project}/files/archive")
    with zipfile.ZipFile(io.BytesIO(archive.content)) as packed:
        assert packed.namelist() == ["src/a.py", "src/dot.png"]


@pytest.mark.parametrize("name", ["../outside.txt", "/etc/passwd", "a\\b.txt", "CON"])
async def test_a_hostile_name_is_refused_with_the_reason(name: str, browser: Browser, project: str) -> None:
    answer = await browser.submit(f"{project}/file", path=name, content="x")
    assert answer.status_code == 400
    assert await paths(browser, project) == []
    opened = await browser.client.get(f"{project}/file", params={"path": name})
    assert opened.status_code == 404


async def test_an_edit_of_something_that_changed_gives_back_what_was_written(browser: Browser, project: str) -> None:
    assert (await browser.submit(f"{project}/file", path="a.txt", content="one")).status_code == 303
    page = await browser.open(f"{project}/file?path=a.txt")
    base = value(page, "#base")
    assert (await browser.submit(f"{project}/file", path="a.txt", content="two", base=base)).status_code == 303
    refused = await browser.submit(f"{project}/file", path="a.txt", content="mine", base=base)
    assert refused.status_code == 409
    assert "changed meanwhile" in refused.text
    assert "mine" in refused.text
    again = await browser.open(f"{project}/file?path=a.txt")
    assert value(again, "#file-content") == "two"


async def test_a_change_is_taken_back_once(browser: Browser, project: str) -> None:
    await browser.submit(f"{project}/file", path="a.txt", content="one")
    await browser.submit(f"{project}/file/deletions", path="a.txt")
    page = await browser.open(f"{project}/files")
    forms = [str(form.attributes["action"]) for form in tags(page, "form")]
    revert = next(action for action in forms if action.endswith("/reverts"))
    assert (await browser.submit(revert)).status_code == 303
    assert await paths(browser, project) == ["a.txt"]
    refused = await browser.submit(revert)
    assert refused.status_code == 409
    assert "changed again since" in refused.text
    scripted = await browser.post(revert)
    assert scripted.status_code == 400
    assert "changed again since" in scripted.text


async def test_what_a_team_changed_is_told_and_can_be_taken_back_from_the_page(
    browser: Browser, project: str, model: ModelServer
) -> None:
    model.script([{"text": '{"satisfied": false, "judgement": "Go.", "work": "Write plan.md"}'}], times=1)
    model.script(
        [{"tool_call": {"name": "write_file", "arguments": '{"path": "plan.md", "content": "one\\n"}'}}], times=1
    )
    model.script([{"text": "Written."}], times=1)
    model.script([{"text": '{"satisfied": true, "judgement": "Done."}'}], times=1)
    model.script([{"text": "There is a plan now."}], times=1)
    said = {"content": "Make a plan", "team": "coders", "project": project.removeprefix("/p/")}
    answer = await browser.submit("/messages", **said)
    assert answer.status_code == 303, answer.text
    conversation = str(answer.headers["location"]).partition("#")[0]
    made = (await browser.client.get(f"/api/conversations/{conversation.removeprefix('/c/')}")).json()
    [change] = made["messages"][-1]["code_changes"]
    assert (change["path"], change["change"]) == ("plan.md", "created")
    assert await paths(browser, project) == ["plan.md"]
    taken = await browser.post(f"/revisions/{change['revision_id']}/reverts")
    assert taken.status_code == 200
    assert f"taken-{change['revision_id']}" in taken.text
    assert await paths(browser, project) == []
    assert (await browser.open(f"/revisions/{change['revision_id']}")).text.count("plan.md") > 0


async def read(browser: Browser, project: str) -> str:
    """The list of documents once nothing is being read any more."""
    page = ""
    for _ in range(200):
        page = (await browser.client.get(f"{project}/documents/list")).text
        if "Reading" not in page:
            return page
        await browser.client.get("/health")
    raise AssertionError(page)


async def test_a_document_is_read_and_its_passages_can_be_opened(browser: Browser, project: str) -> None:
    text = b"# Rivers\n\n## Bends\n\nA meander is a bend.\n\n## Ends\n\nMost end in the sea.\n"
    assert (await upload(browser, f"{project}/documents", ("rivers.md", text))).status_code == 303
    listed = await read(browser, project)
    assert "2 passages" in listed
    index = await browser.open(f"{project}/documents")
    [title] = [link for link in tags(index, "a") if link.text == "rivers.md"]
    document = await browser.open(str(title.attributes["href"]))
    first, second = with_class(document, "passage")
    assert "Rivers › Bends" in first.text
    link = next(str(link.attributes["href"]) for link in tags(document, "a") if link.text == "Passage 1")
    cited = await browser.open(link)
    assert "A meander is a bend." in with_class(cited, "passage--cited")[0].text
    assert "Most end in the sea." in the(cited, "#main").text
    assert "Most end" in second.text
    other = await new_project(browser, "Other")
    await browser.open(link.replace(project, other), status=404)


async def test_a_bad_document_gets_its_reason_and_nothing_is_asked_of_nothing(browser: Browser, project: str) -> None:
    await upload(browser, f"{project}/documents", ("dot.png", b"\x89PNG\0\0"))
    assert "cannot be read" in await read(browser, project)
    nothing = await browser.submit(f"{project}/documents")
    assert nothing.status_code == 400


async def test_a_removed_document_is_gone(browser: Browser, project: str) -> None:
    await upload(browser, f"{project}/documents", ("a.txt", b"words"))
    await read(browser, project)
    page = await browser.open(f"{project}/documents")
    [remove] = [str(form.attributes["action"]) for form in tags(page, "form") if "/deletions" in str(form.attributes)]
    assert (await browser.submit(remove)).status_code == 303
    assert "no documents yet" in await read(browser, project)


async def test_the_sample_project_has_all_that_its_ideas_need(browser: Browser) -> None:
    made = await browser.submit("/projects/sample")
    assert made.status_code == 303
    page = await browser.open(made.headers["location"])
    ideas = [str(link.attributes["href"]) for link in tags(page, "a") if "draft=" in str(link.attributes.get("href"))]
    teams = {httpx.URL(idea).params["team"] for idea in ideas}
    assert teams == {"assistant", "coordinator", "planning", "coders"}
    project = "/p/" + httpx.URL(made.headers["location"]).params["project"]
    assert "rivers.md" in await read(browser, project)
    assert await paths(browser, project) == ["README.md", "poem.txt", "wordcount.py"]
    composed = await browser.open(ideas[-1])
    assert [option.text for option in tags(composed, "option") if "selected" in option.attributes] == [
        "Planner and Coder"
    ]


async def test_a_document_that_is_too_large_is_refused(browser: Browser, project: str) -> None:
    answer = await upload(browser, f"{project}/documents", ("big.txt", b"x" * 22_000_000))
    assert answer.status_code == 413
    assert problems(await browser.open(f"{project}/documents")) == []
