"""A project to try everything on, made at the press of a button."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from litestar import Controller, Response, post
from litestar.di import NamedDependency

from ..accounts.person import Person
from ..knowledge.library import Library
from ..persistence.repositories import Projects
from ..workspace.files import Files
from .answers import see
from .projects import create_project

SAMPLE = Path(__file__).parent.parent / "sample"
NAME = "Sample: rivers"
IDEAS = (
    ("Why do rivers bend?", "assistant"),
    ("Compare where rivers begin and where they end", "coordinator"),
    ("From now on I want metric units. How fast do rivers flow?", "planning"),
    ("Write a haiku about a confluence into haiku.txt", "coders"),
)
INSTRUCTIONS = "Answer briefly, and cite the documents where they know something."


class SamplePages(Controller):
    include_in_schema = False

    @post("/projects/sample")
    async def create(
        self,
        projects: NamedDependency[Projects],
        person: NamedDependency[Person],
        files: NamedDependency[Files],
        library: NamedDependency[Library],
    ) -> Response[Any]:
        project = await create_project(projects, person, NAME, INSTRUCTIONS)
        for path, content in await asyncio.to_thread(contents, SAMPLE / "files"):
            await files.of(project.id).upload(path, whole(content))
        for path, content in await asyncio.to_thread(contents, SAMPLE / "documents"):
            await library.of(project.id).add(path, content)
        return see(f"/?project={project.id}")


def contents(folder: Path) -> list[tuple[str, bytes]]:
    return [(path.name, path.read_bytes()) for path in sorted(folder.iterdir())]


async def whole(content: bytes) -> AsyncIterator[bytes]:
    yield content
