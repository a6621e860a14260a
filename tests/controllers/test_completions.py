"""OpenAI's own client talks to the teams."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionChunk

from riverrun.agents.discovery import find_local
from riverrun.agents.events import AgentChunk, AgentComplete, AgentStart, Event
from riverrun.controllers.completions import Telling
from tests.controllers.api_kit import Json, Program
from tests.model_server import ModelServer
from tests.server import Server

Said = list[Any]


@pytest.fixture
async def client(server: Server) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0, timeout=20) as client:
        yield client


def user(content: Any) -> Any:
    return {"role": "user", "content": content}


def assistant(content: str) -> Any:
    return {"role": "assistant", "content": content}


async def ask(client: AsyncOpenAI, *messages: Any, **options: Any) -> tuple[str, str]:
    """The reply, and the conversation in which it was given."""
    raw = await client.chat.completions.with_raw_response.create(model="assistant", messages=[*messages], **options)
    completion = raw.parse()
    return completion.choices[0].message.content or "", raw.headers["x-conversation-id"]


async def contents(program: Program, conversation: str) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in await program.messages(conversation)]


def texts(chunks: list[ChatCompletionChunk]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def thoughts(chunks: list[ChatCompletionChunk]) -> str:
    deltas = [chunk.choices[0].delta.to_dict() for chunk in chunks if chunk.choices]
    return "".join(str(delta.get("reasoning_content", "")) for delta in deltas)


def asked_of(model: ModelServer, text: str) -> list[Json]:
    """The messages of the last request whose last message is this."""
    bodies = [request["body"] for request in model.requests() if request["body"]]
    found = [body["messages"] for body in bodies if body.get("messages", [{}])[-1].get("content") == text]
    messages: list[Json] = found[-1]
    return messages


# Models


async def test_the_teams_are_the_models(client: AsyncOpenAI, program: Program) -> None:
    models = [model async for model in client.models.list()]
    teams = (await program.client.get("/api/teams")).json()
    assert [model.id for model in models] == [team["name"] for team in teams]
    assert "coordinator" in [model.id for model in models]
    assert (await client.models.retrieve("coordinator")).id == "coordinator"


async def test_a_model_that_is_no_team_is_not_found(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as retrieved:
        await client.models.retrieve("gpt-9")
    with pytest.raises(openai.NotFoundError) as asked:
        await client.chat.completions.create(model="gpt-9", messages=[user("hello")])
    for refusal in (retrieved.value, asked.value):
        assert (refusal.code, refusal.param, refusal.type) == ("model_not_found", "model", "invalid_request_error")
        assert "assistant" in str(refusal.body), "otherwise nobody knows what to ask for"


async def test_another_riverrun_does_not_take_the_teams_for_models(server: Server, program: Program) -> None:
    assert (await program.client.get("/v1/models")).json()["data"], "otherwise there is nothing to take"
    assert await find_local([server.port]) == []


# Replies


async def test_a_reply_comes_whole_with_what_it_cost(client: AsyncOpenAI, model: ModelServer) -> None:
    usage = {"prompt_tokens": 7, "completion_tokens": 3}
    model.script(
        [{"reasoning": "I count them."}, {"text": "Four rivers."}, {"finish": "stop", "usage": usage}],
        match="whole reply?",
        times=1,
    )
    completion = await client.chat.completions.create(model="assistant", messages=[user("whole reply?")])
    assert completion.object == "chat.completion"
    assert completion.model == "assistant"
    assert completion.created > 1_600_000_000
    (choice,) = completion.choices
    assert (choice.message.role, choice.message.content, choice.finish_reason) == ("assistant", "Four rivers.", "stop")
    assert choice.message.to_dict()["reasoning_content"] == "I count them."
    assert completion.usage is not None
    assert completion.usage.to_dict() == {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


async def test_a_reply_is_streamed_as_it_is_written(client: AsyncOpenAI, model: ModelServer) -> None:
    model.script(
        [{"reasoning": "Hm."}, {"text": "One "}, {"gate": "completion-rest"}, {"text": "two."}],
        match="stream this",
        times=1,
    )
    chunks: list[ChatCompletionChunk] = []
    stream = await client.chat.completions.create(model="assistant", messages=[user("stream this")], stream=True)
    async for chunk in stream:
        chunks.append(chunk)
        if texts(chunks) == "One " and chunk.choices[0].delta.content:
            model.open_gate("completion-rest")
    assert texts(chunks) == "One two."
    assert chunks[0].choices[0].delta.role == "assistant"
    assert thoughts(chunks) == "Hm.\n\n"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason] == ["stop"]
    assert {(chunk.id, chunk.object, chunk.model) for chunk in chunks} == {
        (chunks[0].id, "chat.completion.chunk", "assistant")
    }
    assert all("usage" not in chunk.to_dict() for chunk in chunks)


async def test_usage_comes_last_in_a_stream_that_asks_for_it(client: AsyncOpenAI, model: ModelServer) -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 2}
    model.script([{"text": "Counted."}, {"finish": "length", "usage": usage}], match="count tokens", times=1)
    stream = await client.chat.completions.create(
        model="assistant",
        messages=[user("count tokens")],
        stream=True,
        stream_options={"include_usage": True},
    )
    *chunks, last = [chunk async for chunk in stream]
    assert last.choices == []
    assert last.usage is not None
    assert (last.usage.prompt_tokens, last.usage.completion_tokens, last.usage.total_tokens) == (5, 2, 7)
    assert {chunk.usage for chunk in chunks} == {None}
    assert chunks[-1].choices[0].finish_reason == "length"


async def test_the_clients_stream_helper_puts_a_reply_together(client: AsyncOpenAI, model: ModelServer) -> None:
    model.script([{"text": "Put together.", "pieces": 4}], match="helper", times=1)
    async with client.chat.completions.stream(model="assistant", messages=[user("helper")]) as stream:
        completion = await stream.get_final_completion()
    assert completion.choices[0].message.content == "Put together."


async def test_what_supporting_agents_write_is_not_the_reply(client: AsyncOpenAI, model: ModelServer) -> None:
    asks = [{"agent": "Researcher", "task": "Find facts for whom it concerns"}]
    model.script([{"text": json.dumps({"reason": "They know.", "asks": asks})}], match="ask around", times=1)
    model.script([{"reasoning": "Where?"}, {"text": "Two facts."}], match="for whom it concerns", times=1)
    model.script([{"text": "It is so."}], match="ask around", times=1)
    stream = await client.chat.completions.create(model="coordinator", messages=[user("ask around")], stream=True)
    chunks = [chunk async for chunk in stream]
    assert texts(chunks) == "It is so."
    assert "Where?" in thoughts(chunks)


async def test_silence_is_filled_with_comments(server: Server, program: Program, model: ModelServer) -> None:
    model.script([{"gate": "completion-awake"}, {"text": "Good morning."}], match="sleep well", times=1)
    body = {"model": "assistant", "messages": [user("sleep well")], "stream": True}
    lines = []
    async with program.client.stream("POST", "/v1/chat/completions", json=body) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        async for line in answer.aiter_lines():
            lines.append(line)
            if line == ":":
                model.open_gate("completion-awake")
    assert ":" in lines
    assert [line for line in lines if line][-1] == "data: [DONE]"


async def test_work_that_is_not_told_is_silence_too(program: Program, model: ModelServer) -> None:
    asks = [{"agent": "Researcher", "task": "Find much for so long"}]
    model.script([{"text": json.dumps({"reason": "They know.", "asks": asks})}], match="work unseen", times=1)
    model.script([{"text": "fact " * 40, "pieces": 40, "pause": 0.03}], match="for so long", times=1)
    model.script([{"text": "That was much."}], match="work unseen", times=1)
    body = {"model": "coordinator", "messages": [user("work unseen")], "stream": True}
    answer = await program.client.post("/v1/chat/completions", json=body)
    lines = answer.text.splitlines()
    assert ":" in lines
    assert "fact" not in answer.text


# Failures


async def test_a_run_that_fails_is_an_error_that_is_not_tried_again(
    server: Server, program: Program, model: ModelServer
) -> None:
    model.script([{"status": 401, "body": {"error": {"message": "No."}}}], match="fail whole")
    async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=2) as client:
        with pytest.raises(openai.InternalServerError) as failure:
            await client.chat.completions.create(model="assistant", messages=[user("fail whole")])
    assert failure.value.status_code == 502
    assert (failure.value.type, failure.value.code) == ("server_error", "wrong_key")
    conversations = (await program.client.get("/api/conversations")).json()
    assert [row["title"] for row in conversations].count("fail whole") == 1


async def test_a_stream_that_fails_ends_with_an_error(client: AsyncOpenAI, model: ModelServer) -> None:
    model.script([{"text": "Only a be"}, {"cut": "reset"}], match="fail midway")
    chunks, failure = await until_it_fails(client, "fail midway")
    assert texts(chunks) == "Only a be"
    assert failure.type == "server_error"
    assert failure.code


async def test_a_run_that_somebody_stops_is_an_error_too(
    client: AsyncOpenAI, program: Program, model: ModelServer
) -> None:
    model.script([{"text": "Half of "}, {"gate": "completion-stopping"}, {"stall": True}], match="stop me", times=1)
    failing = asyncio.create_task(until_it_fails(client, "stop me"))
    await asyncio.to_thread(model.wait_gate, "completion-stopping")
    (row,) = [row for row in (await program.client.get("/api/conversations")).json() if row["title"] == "stop me"]
    run = (await program.messages(row["id"]))[-1]["run_id"]
    await program.client.post(f"/api/runs/{run}/cancel")
    chunks, failure = await failing
    assert texts(chunks) == "Half of "
    assert failure.code == "cancelled"


async def until_it_fails(client: AsyncOpenAI, content: str) -> tuple[list[ChatCompletionChunk], openai.APIError]:
    chunks: list[ChatCompletionChunk] = []
    stream = await client.chat.completions.create(model="assistant", messages=[user(content)], stream=True)
    try:
        async for chunk in stream:
            chunks += [chunk]
    except openai.APIError as failure:
        return chunks, failure
    raise AssertionError("it did not fail")


REFUSED: dict[str, Json] = {
    "n": {"n": 2},
    "tools": {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]},
    "response_format": {"response_format": {"type": "json_object"}},
    "logprobs": {"logprobs": True},
    "modalities": {"modalities": ["text", "audio"]},
}


@pytest.mark.parametrize("param", REFUSED)
async def test_what_no_team_can_do_is_refused(client: AsyncOpenAI, param: str) -> None:
    with pytest.raises(openai.BadRequestError) as refusal:
        await client.chat.completions.create(model="assistant", messages=[user("hello")], **REFUSED[param])
    assert (refusal.value.param, refusal.value.type) == (param, "invalid_request_error")


async def test_what_is_the_teams_own_affair_is_ignored(client: AsyncOpenAI, model: ModelServer) -> None:
    model.script([{"text": "Of course."}], match="as you like", times=1)
    reply, _ = await ask(
        client,
        user("as you like"),
        temperature=0.3,
        top_p=0.9,
        max_tokens=5,
        stop=["x"],
        seed=1,
        user="somebody",
        metadata={"a": "b"},
        n=1,
        response_format={"type": "text"},
        extra_body={"tools": [], "tool_choice": "none", "logprobs": False, "top_k": 3},
    )
    assert reply == "Of course."


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [assistant("I begin.")],
        [{"role": "system", "content": "Be kind."}],
        [user("  \x00 ")],
        [user([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}])],
        [user([{"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}]), user("And?")],
    ],
    ids=["none", "assistant", "system", "empty", "image", "audio"],
)
async def test_messages_that_cannot_be_answered_are_refused(client: AsyncOpenAI, messages: Said) -> None:
    with pytest.raises(openai.BadRequestError) as refusal:
        await client.chat.completions.create(model="assistant", messages=messages)
    assert refusal.value.param == "messages"


async def test_a_message_that_is_too_long_is_refused(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.APIStatusError) as refusal:
        await client.chat.completions.create(model="assistant", messages=[user("x" * 5001)])
    assert (refusal.value.status_code, refusal.value.code, refusal.value.param) == (413, "too_large", "messages")


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        (b"{", 400, None),
        (b"[]", 400, None),
        (b"{}", 400, "model"),
        (b'{"model": "assistant"}', 400, "messages"),
        (b'{"model": "assistant", "messages": "hello"}', 400, "messages"),
    ],
)
async def test_a_body_that_makes_no_sense_is_refused_in_their_form(
    program: Program, body: bytes, status: int, param: str | None
) -> None:
    answer = await program.client.post(
        "/v1/chat/completions", content=body, headers={"content-type": "application/json"}
    )
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    error = answer.json()["error"]
    assert error["message"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)


async def test_an_address_that_does_not_exist_is_told_in_their_form(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as refusal:
        await client.embeddings.create(model="assistant", input="x")
    assert refusal.value.code == "not_found"


async def test_a_page_of_another_site_cannot_ask(program: Program) -> None:
    body = {"model": "assistant", "messages": [user("hello")]}
    answer = await program.client.post("/v1/chat/completions", json=body, headers={"Origin": "https://evil.example"})
    assert (answer.status_code, answer.json()["error"]["type"]) == (403, "permission_error")


# Conversations


async def test_parts_of_text_are_one_message(client: AsyncOpenAI, program: Program) -> None:
    parts = [{"type": "text", "text": "First "}, {"type": "text", "text": "and second."}]
    _, conversation = await ask(client, user(parts))
    assert (await contents(program, conversation))[0] == ("user", "First and second.")


async def test_a_client_that_brings_its_history_goes_on_in_one_conversation(
    client: AsyncOpenAI, program: Program, model: ModelServer
) -> None:
    model.script([{"text": "The Rhine.\n"}], match="name a river", times=1)
    model.script([{"text": "The Elbe."}], match="another one", times=1)
    history = [{"role": "system", "content": "Be brief."}, user(" name a river ")]
    first, conversation = await ask(client, *history)
    history += [assistant(first), user("another one")]
    second, same = await ask(client, *history)
    assert same == conversation
    assert await contents(program, conversation) == [
        ("user", "name a river"),
        ("assistant", "The Rhine.\n"),
        ("user", "another one"),
        ("assistant", "The Elbe."),
    ]
    given = asked_of(model, "another one")
    assert [message["role"] for message in given] == ["system", "user", "assistant", "user"]
    third, same = await ask(client, *history, assistant(second), user("and which is longer?"))
    assert same == conversation
    assert third


async def test_another_history_makes_another_conversation(client: AsyncOpenAI, program: Program) -> None:
    said = [user("Is the Oder long?"), assistant("I never said this."), user("Sure?")]
    first, conversation = await ask(client, *said)
    assert (await contents(program, conversation))[:3] == [
        ("user", "Is the Oder long?"),
        ("assistant", "I never said this."),
        ("user", "Sure?"),
    ]
    _, other = await ask(client, *said)
    assert other == conversation, "what came with the first request is known as well"
    _, same = await ask(client, *said, assistant(first), user("Really?"))
    assert same == conversation


async def test_a_reply_of_the_same_words_elsewhere_is_not_gone_on_from(client: AsyncOpenAI, model: ModelServer) -> None:
    model.script([{"text": "Yes, certainly."}], match="same words", times=2)
    reply, one = await ask(client, user("same words, one"))
    _, other = await ask(client, user("same words, other"))
    _, goes_on = await ask(client, user("same words, one"), assistant(reply), user("Why?"))
    assert goes_on == one != other


async def test_a_long_history_is_taken(client: AsyncOpenAI, program: Program) -> None:
    said = [turn for n in range(150) for turn in (user(f"{n} {'q' * 4000}"), assistant(f"{n} {'a' * 4000}"))]
    reply, conversation = await ask(client, *said, user("After 1.2 MB?"))
    assert reply
    assert (await contents(program, conversation))[-2:] == [("user", "After 1.2 MB?"), ("assistant", reply)]


async def test_a_branch_knows_nothing_of_what_came_later(client: AsyncOpenAI, model: ModelServer) -> None:
    history = [user("Where does the Main begin?")]
    first, _ = await ask(client, *history)
    history.append(assistant(first))
    await ask(client, *history, user("a question that is edited"))
    await ask(client, *history, user("the edited question"))
    given = asked_of(model, "the edited question")
    assert [message["content"] for message in given[1:]] == [
        "Where does the Main begin?",
        first,
        "the edited question",
    ]


async def test_a_deleted_conversation_is_not_gone_on_in(client: AsyncOpenAI, program: Program) -> None:
    said = [user("Delete what I said about the Neckar.")]
    reply, conversation = await ask(client, *said)
    await program.client.delete(f"/api/conversations/{conversation}")
    _, other = await ask(client, *said, assistant(reply), user("Go on."))
    assert other != conversation


async def test_instructions_hold_for_the_run_and_are_not_kept(
    client: AsyncOpenAI, program: Program, model: ModelServer
) -> None:
    system, developer = "Talk like a sailor.", "Never mention whales."
    said = [{"role": "system", "content": system}, {"role": "developer", "content": developer}, user("ahoy there")]
    reply, conversation = await ask(client, *said)
    given = asked_of(model, "ahoy there")[0]
    assert given["role"] == "system"
    assert system in given["content"]
    assert developer in given["content"]
    await ask(
        client, {"role": "system", "content": "Talk like a judge."}, *said[2:], assistant(reply), user("ahoy again")
    )
    given = asked_of(model, "ahoy again")[0]
    assert "Talk like a judge." in given["content"]
    assert system not in given["content"]
    assert [role for role, _ in await contents(program, conversation)] == ["user", "assistant"] * 2


async def test_a_client_that_left_and_asks_again_is_answered(
    client: AsyncOpenAI, program: Program, model: ModelServer
) -> None:
    first, conversation = await ask(client, user("Which river is left alone?"))
    history = [user("Which river is left alone?"), assistant(first)]
    model.script([{"text": "Slowly"}, {"gate": "completion-left"}, {"text": " done."}], match="take your time", times=1)
    stream = await client.chat.completions.create(
        model="assistant", messages=[*history, user("take your time")], stream=True
    )
    async for chunk in stream:
        if chunk.choices[0].delta.content:
            break
    await stream.close()
    run = chunk.id.removeprefix("chatcmpl-")
    reply, other = await ask(client, *history, user("be quick"))
    assert reply
    assert other != conversation, "the known one is still at work"
    model.open_gate("completion-left")
    assert (await program.events(run))[-1]["message"]["content"] == "Slowly done."
    assert ("assistant", "Slowly done.") in await contents(program, conversation)


async def test_a_team_that_somebody_made_can_be_asked(client: AsyncOpenAI, program: Program) -> None:
    agent = await program.client.post("/agents", data={"name": "Completer", "instructions": "You complete."})
    members = agent.headers["location"].removeprefix("/agents#agent-")
    await program.client.post("/teams", data={"title": "The completers", "members": members})
    assert (await client.models.retrieve("the-completers")).to_dict()["name"] == "The completers"
    completion = await client.chat.completions.create(model="the-completers", messages=[user("Are you there?")])
    assert completion.model == "the-completers"
    assert completion.choices[0].message.content


# Further attempts and turns, which only a run that changes hands or teams of others have


def written(*events: Event) -> str:
    telling = Telling()
    return "".join(chunk["choices"][0]["delta"]["content"] for event in events for chunk in telling.tell(event))


@pytest.mark.parametrize(
    ("again", "reply"),
    [
        (["One ", "two three"], "One two three"),
        (["One two"], "One two"),
        (["One ", "three"], "One two\n\nOne three"),
        (["One"], "One two\n\nOne"),
    ],
    ids=["more", "the same", "other", "less"],
)
def test_a_further_attempt_goes_on_where_it_agrees_and_else_begins_a_paragraph(again: list[str], reply: str) -> None:
    assert reply == written(
        AgentStart(turn=1),
        AgentChunk(turn=1, text="One two"),
        AgentStart(turn=1, attempt=2),
        *(AgentChunk(turn=1, text=text) for text in again),
        AgentComplete(turn=1, content="".join(again), duration_ms=1),
    )


def test_a_further_turn_of_the_reply_begins_a_paragraph() -> None:
    assert (
        written(
            AgentStart(turn=1),
            AgentChunk(turn=1, text="First."),
            AgentComplete(turn=1, content="First.", duration_ms=1),
            AgentStart(turn=2),
            AgentChunk(turn=2, text="Second "),
            AgentChunk(turn=2, text="try.", offset=7),
            AgentComplete(turn=2, content="Second try.", duration_ms=1),
        )
        == "First.\n\nSecond try."
    )
