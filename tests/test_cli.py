"""The command, as people use it."""

import subprocess
from pathlib import Path

import pytest

from tests.server import Server, free_port, run_command


def riverrun(folder: Path, *arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    return run_command(folder, *arguments, RIVERRUN_MODEL="demo", COLUMNS="100", **settings)


def test_help_lists_the_commands(tmp_path: Path) -> None:
    shown = riverrun(tmp_path, "--help")
    assert shown.returncode == 0
    for command in ("run", "database", "routes"):
        assert f" {command} " in shown.stdout


def test_routes_names_the_pages_and_the_api(tmp_path: Path) -> None:
    shown = riverrun(tmp_path, "routes").stdout
    assert "/api/conversations" in shown
    assert "/runs/{run_id:uuid}/stream" in shown


def test_the_database_is_brought_up_to_date_by_command(tmp_path: Path) -> None:
    done = riverrun(tmp_path, "database", "upgrade", "--no-prompt")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "data" / "riverrun.db").exists()


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"RIVERRUN_MODEL_URL": "localhost/v1"}, "RIVERRUN_MODEL_URL"),
        ({"RIVERRUN_DATABASE_URL": "mysql://x/y"}, "RIVERRUN_DATABASE_URL"),
        ({"RIVERRUN_HEARTBEAT": "soon"}, "RIVERRUN_HEARTBEAT"),
        ({"RIVERRUN_SECRET_KEY": "0pen-sesame"}, "RIVERRUN_SECRET_KEY"),
        ({"RIVERRUN_OIDC_ISSUER": "https://id.example.org"}, "RIVERRUN_AUTH=accounts"),
    ],
)
def test_a_wrong_setting_is_named_and_its_value_is_not_shown(
    tmp_path: Path, settings: dict[str, str], named: str
) -> None:
    failed = riverrun(tmp_path, "run", "--port", str(free_port()), **settings)
    assert failed.returncode == 2
    assert named in failed.stderr
    assert not [value for value in settings.values() if value in failed.stderr]
    assert "Traceback" not in failed.stderr


def test_a_port_in_use_is_a_sentence(tmp_path: Path) -> None:
    with Server(tmp_path, RIVERRUN_MODEL="demo").start() as server:
        failed = riverrun(tmp_path, "run", "--port", str(server.port), RIVERRUN_DATA="elsewhere")
    assert failed.returncode != 0
    assert "address already in use" in failed.stderr.lower()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "0"])  # the last as a name, which is looked up
def test_without_accounts_no_other_machine_gets_in(tmp_path: Path, host: str) -> None:
    failed = riverrun(tmp_path, "run", "--host", host, "--port", str(free_port()), RIVERRUN_AUTH="local")
    assert failed.returncode == 2
    assert "RIVERRUN_AUTH=accounts" in failed.stderr
    assert not (tmp_path / "data" / "riverrun.db").exists()


def test_a_second_process_on_the_same_data_is_refused_and_does_no_harm(tmp_path: Path) -> None:
    with Server(tmp_path, RIVERRUN_MODEL="demo").start() as server:
        failed = riverrun(tmp_path, "run", "--port", str(free_port()))
        assert failed.returncode == 1
        assert "Another riverrun already works on" in failed.stderr
        server.kill()
        server.start()


def test_a_data_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    failed = riverrun(tmp_path, "run", "--port", str(free_port()), RIVERRUN_DATA=str(tmp_path / "file" / "data"))
    assert failed.returncode != 0
    assert "RIVERRUN_DATA" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_a_file_without_a_key_is_a_sentence_and_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "secret.key").write_text("0pen-sesame")
    failed = riverrun(tmp_path, "run", "--port", str(free_port()))
    assert failed.returncode != 0
    assert "secret.key holds no key" in failed.stderr.replace("\n", " ")
    assert "0pen-sesame" not in failed.stderr
    assert "Traceback" not in failed.stderr


def test_a_dotenv_file_is_honoured_and_a_variable_beats_it(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("RIVERRUN_MODEL=demo\nRIVERRUN_HEARTBEAT=soon\n")
    assert riverrun(tmp_path, "routes").returncode == 2
    assert riverrun(tmp_path, "routes", RIVERRUN_HEARTBEAT="3").returncode == 0


def test_it_says_where_it_serves_and_which_model(tmp_path: Path) -> None:
    with Server(tmp_path, RIVERRUN_MODEL="demo").start() as server:
        assert f"riverrun serves at {server.url}\n" in server.log.read_text()
        assert "Model: demo\n" in server.log.read_text()


def test_people_are_managed_by_command(tmp_path: Path) -> None:
    """Beside a server or without one; the first account administers."""

    def account(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return riverrun(tmp_path, "account", *arguments)

    made = account("create", "Ada", "--password", "correct horse battery")
    assert (made.returncode, made.stdout) == (0, "Ada can sign in now, and administers.\n")
    assert account("create", "bob", "--password", "correct horse battery").stdout.endswith("is a member.\n")
    refused = account("create", "BOB", "--password", "correct horse battery")
    assert refused.returncode == 1
    assert "There is somebody of this name already." in refused.stderr
    assert "Traceback" not in refused.stderr
    assert account("password", "bob", "--password", "staple of the battery").stdout == "bob has a new password.\n"
    assert "nobody of this name" in account("password", "eve", "--password", "staple of the battery").stderr
    assert account("list").stdout == "ada  admin\nbob  member\n"
