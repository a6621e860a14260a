"""The rows with which a run begins, and what changes in its conversation."""

from datetime import datetime
from uuid import UUID

from ..persistence import tables
from ..persistence.statements import Row

TITLE_LENGTH = 60


def conversation_row(
    id: UUID,
    title: str,
    team: str,
    at: datetime,
    project_id: UUID = tables.DEFAULT_PROJECT,
    leaf_id: UUID | None = None,
) -> Row:
    return {
        "id": id,
        "project_id": project_id,
        "title": title,
        "team": team,
        "leaf_id": leaf_id,
        "active_at": at,
        "created_at": at,
    }


def message_row(
    id: UUID,
    conversation_id: UUID,
    role: str,
    content: str,
    at: datetime,
    *,
    parent_id: UUID | None,
    run_id: UUID | None = None,
    status: str = "",
) -> Row:
    return {
        "id": id,
        "conversation_id": conversation_id,
        "parent_id": parent_id,
        "run_id": run_id,
        "role": role,
        "content": content,
        "status": status,
        "created_at": at,
    }


def title_of(content: str) -> str:
    """The first line of what was asked, cut at a word."""
    line = next((line.strip(" #*>`") for line in content.splitlines() if line.strip(" #*>`")), "")
    if len(line) <= TITLE_LENGTH:
        return line
    return line[:TITLE_LENGTH].rsplit(" ", 1)[0] + "…"


def touch(conversation_id: UUID, title: str, team: str, leaf_id: UUID, at: datetime) -> Row:
    return {"conversation": conversation_id, "new_title": title, "new_team": team, "new_leaf": leaf_id, "now": at}
