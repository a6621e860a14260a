"""Keys: where they come from, what they open, and what they tell of themselves."""

import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from riverrun.persistence import keyring as keyrings
from riverrun.persistence.keyring import SCHEME, Keyring, NoKey, Sealed, keyring_of
from riverrun.settings import Settings

SECRET = "https://t0ken@tools.example.org/mcp"
OLD, NEW = "Tm90IGEgc2VjcmV0LCBidXQgMzIgYnl0ZXMgbG9uZyE=", "+/+/+/+/+/+/+/+/+/+/+/+/+/+/+/+/+/+/+/+/+/8="
KEYRING = Keyring([OLD])


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_what_is_sealed_opens_again_and_never_looks_the_same(secret: str) -> None:
    sealed = KEYRING.seal(secret)
    assert KEYRING.open(sealed) == secret
    assert KEYRING.seal(secret) != sealed


@given(st.text() | st.text().map(lambda text: SCHEME + text))
def test_whatever_else_is_saved_stays_closed(saved: str) -> None:
    assert KEYRING.open(Sealed(saved)) is None


def test_what_was_changed_stays_closed() -> None:
    sealed = KEYRING.seal(SECRET)
    middle = len(sealed) // 2
    changed = sealed[:middle] + ("A" if sealed[middle] != "A" else "B") + sealed[middle + 1 :]
    assert KEYRING.open(Sealed(changed)) is None


def test_a_key_can_be_replaced() -> None:
    sealed = KEYRING.seal(SECRET)
    assert Keyring([NEW]).open(sealed) is None
    assert Keyring([NEW]).sealed_anew(sealed) is None
    both = Keyring([NEW, OLD])
    assert both.open(sealed) == SECRET
    anew = both.sealed_anew(sealed)
    assert anew is not None
    assert Keyring([NEW]).open(anew) == SECRET
    assert both.sealed_anew(anew) is None, "that is done once"


def test_the_first_start_makes_a_key_that_later_ones_find(tmp_path: Path) -> None:
    file = tmp_path / "data" / "secret.key"
    sealed = keyring_of([], file).seal(SECRET)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["secret.key"]
    assert keyring_of([], file).open(sealed) == SECRET


def test_keys_that_are_given_need_no_file(tmp_path: Path) -> None:
    assert keyring_of([NEW, OLD], tmp_path / "secret.key").open(KEYRING.seal(SECRET)) == SECRET
    assert list(tmp_path.iterdir()) == []


def test_a_file_may_hold_several_keys(tmp_path: Path) -> None:
    file = tmp_path / "secret.key"
    file.write_text(f"{NEW}\n{OLD}\n")
    assert keyring_of([], file).open(KEYRING.seal(SECRET)) == SECRET


def test_two_processes_that_start_at_once_agree_on_one_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, both = tmp_path / "secret.key", Barrier(2)
    write: Callable[[Path], None] = keyrings.write_new_key

    def write_together(file: Path) -> None:
        both.wait(timeout=20)  # by now both have seen that there is none
        write(file)

    monkeypatch.setattr(keyrings, "write_new_key", write_together)
    with ThreadPoolExecutor(2) as threads:
        one, other = threads.map(lambda _: keyring_of([], file), range(2))
    assert other.open(one.seal(SECRET)) == SECRET
    assert [path.name for path in tmp_path.iterdir()] == ["secret.key"]


@pytest.mark.parametrize("content", [b"", b"\n", b"secret\n", b"\xff\xfe", OLD.encode() + b"\nsecret"])
def test_a_file_without_a_key_is_not_written_over(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "secret.key"
    file.write_bytes(content)
    with pytest.raises(NoKey, match=r"secret\.key holds no key: a key is 32 random bytes") as refusal:
        keyring_of([], file)
    assert "secret\n" not in str(refusal.value)
    assert file.read_bytes() == content


@pytest.mark.parametrize("written", ["correct horse battery staple", f"{NEW},c2hvcnQ=", OLD[:-4]])
def test_a_setting_that_is_no_key_is_refused_without_being_quoted(
    written: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RIVERRUN_SECRET_KEY", written)
    with pytest.raises(ValidationError, match="a key is 32 random bytes in base64") as refusal:
        Settings()
    assert written.split(",")[-1] not in str(refusal.value)


def test_settings_do_not_tell_their_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIVERRUN_SECRET_KEY", f"{NEW}, {OLD}")
    monkeypatch.setenv("RIVERRUN_MODEL_KEY", "sk-secret")
    monkeypatch.setenv("RIVERRUN_DATABASE_URL", "postgresql+asyncpg://riverrun:sk-secret@127.0.0.1/riverrun")
    settings = Settings()
    assert settings.secret_key == [NEW, OLD]
    for told in (repr(settings), str(settings), repr(settings.model_options())):
        assert not [secret for secret in (NEW, OLD, "sk-secret") if secret in told]
