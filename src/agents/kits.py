"""The tools that a project brings: its files, its documents, and those of its tool servers."""

from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import asynccontextmanager

from .context import Change, Context, Knowledge, Passage, Workspace, WorkspaceError
from .events import CodeChange, Interaction
from .tools import Answer, Tool, ToolError, tool

FILES, DOCUMENTS = "files", "documents"
READ_LIMIT = 16_000  # characters that are read at once; of a longer file the reader is told how to read on


def kit(context: Context, author: str, names: Collection[str]) -> list[Tool]:
    """The tools of these names: `files`, `documents`, and tool servers. The author signs what is changed."""
    tools: list[Tool] = []
    if context.workspace and FILES in names:
        tools += file_tools(context.workspace.by(author))
    if context.knowledge and DOCUMENTS in names:
        tools.append(search_tool(context.knowledge))
    return tools + [tool for tool in context.tools if tool.name.split("__")[0] in names]


def file_tools(workspace: Workspace) -> list[Tool]:
    async def list_files(folder: str = "") -> str:
        """List the project's files with their sizes.

        Args:
            folder: only those below this folder
        """
        async with refusals():
            files = await workspace.files(folder)
        return "\n".join(f"{file.path} ({file.size:,} bytes)" for file in files) or "There are no files."

    async def read_file(path: str, first_line: int = 1, last_line: int | None = None) -> str:
        """Read a text file, or some of its lines.

        Args:
            path: relative to the project's files, such as src/app.py
            first_line: counted from 1
            last_line: the last one to read; the end of the file if left out
        """
        async with refusals():
            text = await workspace.read(path)
        return excerpt(path, text, first_line, last_line)

    async def search_files(text: str, folder: str = "") -> str:
        """Find the lines of all files that contain a text, in upper or lower case.

        Args:
            text: what to look for, as it stands
            folder: only below this folder
        """
        async with refusals():
            matches = await workspace.search(text, folder)
        return "\n".join(f"{match.path}:{match.line}: {match.text}" for match in matches) or "Nothing was found."

    async def write_file(path: str, content: str) -> Answer:
        """Write a whole file: a new one, or another content for one that you have read.

        Args:
            path: relative to the project's files; folders are made as needed
            content: all of it
        """
        async with refusals():
            return changed(await workspace.write(path, content))

    async def edit_file(path: str, old: str, new: str) -> Answer:
        """Replace a text in a file that you have read.

        Args:
            path: relative to the project's files
            old: the text as it stands in the file, with enough around it to stand there exactly once
            new: what takes its place
        """
        async with refusals():
            return changed(await workspace.edit(path, old, new))

    async def move_file(path: str, to: str) -> Answer:
        """Move or rename a file.

        Args:
            path: where it is
            to: where it shall be; nothing may be there yet
        """
        async with refusals():
            return changed(await workspace.move(path, to))

    async def delete_file(path: str) -> Answer:
        """Delete a file.

        Args:
            path: relative to the project's files
        """
        async with refusals():
            return changed(await workspace.delete(path))

    return [
        tool(list_files),
        tool(read_file),
        tool(search_files),
        tool(write_file),
        tool(edit_file),
        tool(move_file),
        tool(delete_file),
    ]


@asynccontextmanager
async def refusals() -> AsyncGenerator[None, None]:
    try:
        yield
    except WorkspaceError as refusal:
        raise ToolError(str(refusal)) from refusal


def excerpt(path: str, text: str, first: int, last: int | None) -> str:
    """These lines, as far as they can be read at once. Raises ToolError for lines that there are not."""
    lines = text.splitlines(keepends=True)
    if not lines:
        return f"{path} is empty."
    if not 1 <= first <= len(lines) or (last is not None and last < first):
        raise ToolError(f"{path} has {len(lines)} lines; lines {first} to {last or len(lines)} are not among them.")
    chosen: list[str] = []
    size = 0
    for line in lines[first - 1 : last]:
        size += len(line)
        if chosen and size > READ_LIMIT:
            break
        chosen.append(line)
    end = first + len(chosen) - 1
    if len(chosen) == len(lines):
        return "".join(chosen)
    return f"[lines {first} to {end} of {len(lines)}]\n{''.join(chosen)}"


def changed(changes: Sequence[Change]) -> Answer:
    said = "\n".join(f"{change.change.capitalize()} {change.path}." for change in changes)
    told = [
        CodeChange(path=change.path, change=change.change, diff=change.diff, revision_id=change.revision_id)
        for change in changes
    ]
    return Answer(said or "Nothing to change: it is so already.", told)


def search_tool(knowledge: Knowledge) -> Tool:
    async def search_documents(query: str) -> Answer:
        """Find passages in the project's documents. Cite what you use of them, in the way that each tells.

        Args:
            query: words that the passages should contain
        """
        passages = await knowledge.search(query)
        if not passages:
            return Answer("No passage fits. Try other words.", [found(query, [])])
        return Answer("\n\n".join(map(cited, passages)), [found(query, passages)])

    return tool(search_documents)


def cited(passage: Passage) -> str:
    where = f"{passage.document} › {passage.heading}" if passage.heading else passage.document
    return f"From {where}; cite it as [{passage.document}]({passage.address}):\n{passage.text}"


def found(query: str, passages: Sequence[Passage]) -> Interaction:
    """What a person is shown of a search."""
    shown = [
        {"document": passage.document, "heading": passage.heading, "address": passage.address, "text": passage.text}
        for passage in passages
    ]
    return Interaction(turn=0, kind="retrieval", content=query, tool_arguments={"passages": shown})
