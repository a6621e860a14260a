"""An example of every type on the wire, for the OpenAPI document: one conversation, told from its beginning."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from msgspec import Struct

from ..agents.events import (
    AgentChunk,
    AgentComplete,
    AgentStart,
    Asked,
    CodeChange,
    Complete,
    Error,
    FinalMessage,
    Interaction,
    Progress,
    Start,
    Usage,
)
from ..persistence.tables import DEFAULT_PROJECT
from ..runs.archive import Archive, ArchivedConversation, ArchivedMessage, ArchivedRun
from .api import (
    Added,
    Addition,
    Approval,
    Branch,
    Conversation,
    ConversationWithMessages,
    Message,
    NewConversation,
    NewMessage,
    Rename,
    Reply,
    Retry,
    RunStatus,
    StartedRun,
)
from .health import Health
from .openapi import FAILED_RUN, Event, ServerSentEvent
from .problems import Problem, WrongValue, title
from .project_api import Memory, NewMemory, NewProject, Project, ProjectChange, Team

ASKED = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
ANSWERED = ASKED + timedelta(seconds=4)
CONVERSATION = UUID("019a9fe1-7bc0-7000-8000-000000000001")
QUESTION = UUID("019a9fe1-7bc0-7000-8000-000000000002")
ANSWER = UUID("019a9fe1-7bc0-7000-8000-000000000003")
RUN = UUID("019a9fe1-7bc0-7000-8000-000000000004")
REVISION = UUID("019a9fe1-7bc0-7000-8000-000000000005")
PROJECT = UUID("019a9fe1-7bc0-7000-8000-000000000006")
MEMORY = UUID("019a9fe1-7bc0-7000-8000-000000000007")
ADDED = UUID("019a9fe1-7bc0-7000-8000-000000000008")
TITLE = "Rivers"
CONTENT = "The Rhine, the Elbe, the Weser and the Thames."
QUERY = "Which rivers reach the North Sea?"
MODEL = "llama3.3"
TEAM = "coordinator"
USAGE = Usage(input_tokens=412, output_tokens=18)
PASSAGE = {
    "document": "rivers.md",
    "heading": "North",
    "address": "/documents/7",
    "text": "The Elbe reaches the sea ...",
}
DIFF = "--- a/rivers.txt\n+++ b/rivers.txt\n@@ -1 +1,2 @@\n Rhine\n+Elbe\n"


def stamp(seq: int, agent: str | None = None) -> dict[str, Any]:
    """What every event carries."""
    return {"seq": seq, "run_id": RUN, "at": ASKED + timedelta(milliseconds=240 * seq), "agent": agent}


start = Start(
    **stamp(1), conversation_id=CONVERSATION, user_message_id=QUESTION, message_id=ANSWER, team=TEAM, model=MODEL
)
agent_start = AgentStart(**stamp(2, "Researcher"), turn=1, role="finds passages", task=QUERY, lane="support")
interaction = Interaction(
    **stamp(3, "Researcher"), turn=1, kind="retrieval", content=QUERY, tool_arguments={"passages": [PASSAGE]}
)
progress = Progress(
    **stamp(4), fraction=0.4, step="execution", message="Writing the answer", metadata={"seconds_left": 3}
)
code_change = CodeChange(**stamp(5, "Writer"), path="rivers.txt", change="modified", diff=DIFF, revision_id=REVISION)
agent_chunk = AgentChunk(**stamp(6, "Writer"), turn=2, text=CONTENT, offset=0)
agent_complete = AgentComplete(
    **stamp(7, "Writer"), turn=2, content=CONTENT, duration_ms=1_630, usage=USAGE, finish_reason="stop"
)
error = Error(**stamp(8), message="The model server broke off. Try again.", code="model_broke_off", retryable=True)
final = FinalMessage(id=ANSWER, role="assistant", content=CONTENT, agent_name="Writer", created_at=ANSWERED)
complete = Complete(**stamp(9), status="complete", message=final, code_changes=[code_change], usage=USAGE)

conversation = Conversation(CONVERSATION, DEFAULT_PROJECT, TITLE, TEAM, ASKED, ANSWERED)
asked = Message(QUESTION, None, [QUESTION], "user", QUERY, None, ASKED)
answered = Message(
    id=ANSWER,
    parent_id=QUESTION,
    branches=[ANSWER],
    role="assistant",
    content=CONTENT,
    agent_name="Writer",
    created_at=ASKED,
    run_id=RUN,
    status="complete",
    usage=USAGE,
    interactions=[interaction],
    code_changes=[code_change],
)
archived = ArchivedConversation(CONVERSATION, TITLE, TEAM, ASKED, ANSWER)
question = ArchivedMessage(QUESTION, "user", QUERY, ASKED)
archived_run = ArchivedRun(RUN, QUESTION, ANSWER, TEAM, MODEL, "complete", ASKED, ANSWERED, [])
answer = ArchivedMessage(ANSWER, "assistant", CONTENT, ASKED, "Writer", QUESTION)
asking = Asked("1.1", 1, "weather", "forecast", {"city": "Ulm"}, ASKED + timedelta(minutes=10))
wrong = WrongValue("Expected `str`, got `int`", "content", "body")

EXAMPLES: list[Struct] = [
    start,
    agent_start,
    agent_chunk,
    agent_complete,
    interaction,
    progress,
    code_change,
    error,
    complete,
    Event(agent_chunk),
    ServerSentEvent(Event(agent_chunk), "agent_chunk", "6"),
    final,
    USAGE,
    NewConversation(TITLE, TEAM),
    NewMessage(QUERY),
    Addition("Name the longest first.", "now"),
    Added(ADDED, "pending"),
    Retry(TEAM, MODEL),
    Branch(ANSWER),
    Approval("decline", "Ask me about Ulm instead."),
    asking,
    Rename(TITLE),
    conversation,
    answered,
    ConversationWithMessages(CONVERSATION, DEFAULT_PROJECT, TITLE, TEAM, ASKED, ANSWERED, messages=[asked, answered]),
    Archive(1, archived, [question, answer], [archived_run]),
    archived,
    answer,
    archived_run,
    StartedRun(RUN, ANSWER),
    Reply(RUN, CONVERSATION, QUESTION, "complete", final, [code_change], USAGE),
    RunStatus(
        id=RUN,
        conversation_id=CONVERSATION,
        message_id=ANSWER,
        team=TEAM,
        model=MODEL,
        status="complete",
        seq=9,
        fraction=1.0,
        content=CONTENT,
        approvals=[],
        error=None,
        usage=USAGE,
        started_at=ASKED,
        ended_at=ANSWERED,
    ),
    NewProject("Harbour", "Answer in Danish.", TEAM),
    ProjectChange(instructions="Answer in Danish, and briefly."),
    Project(PROJECT, "Harbour", "Answer in Danish.", TEAM, ASKED, ANSWERED),
    NewMemory("The harbour master is called Ida."),
    Memory(MEMORY, "The harbour master is called Ida.", RUN, ANSWERED),
    Team("assistant", "Assistant", "Answers by itself."),
    Health("ok", MODEL, 3),
    Problem(status=400, title=title(400), detail=wrong.message, code="invalid", field="content", errors=[wrong]),
    FAILED_RUN,
    wrong,
]
