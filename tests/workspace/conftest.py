"""A project's files on a real disk, with their revisions in a real database."""

from pathlib import Path

import pytest
from advanced_alchemy.extensions.litestar import SQLAlchemyAsyncConfig
from uuid_utils.compat import uuid7

from riverrun.persistence.tables import DEFAULT_PROJECT
from riverrun.workspace.files import Files, ProjectFiles
from riverrun.workspace.run import RunFiles


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "projects"


@pytest.fixture
def store(root: Path, database: SQLAlchemyAsyncConfig) -> Files:
    return Files(root, database.create_session_maker())


@pytest.fixture
def project(store: Files) -> ProjectFiles:
    return store.of(DEFAULT_PROJECT)


@pytest.fixture
def run(project: ProjectFiles) -> RunFiles:
    return project.for_run(uuid7()).by("Coder")


@pytest.fixture
def folder(root: Path) -> Path:
    """Where the files lie, as somebody outside would find them."""
    return root / str(DEFAULT_PROJECT) / "files"
