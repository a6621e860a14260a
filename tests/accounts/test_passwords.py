"""Which passwords are taken, and how they are kept."""

import pytest
from argon2 import PasswordHasher, extract_parameters

from riverrun.accounts import passwords
from riverrun.errors import Invalid


@pytest.mark.parametrize(
    ("password", "sentence"),
    [
        ("", "10 characters"),
        ("nine char", "10 characters"),
        ("🦊" * 9, "10 characters"),
        ("x" * 1001, "1,000 characters"),
        ("Ada@Example.org", "name itself"),
    ],
)
def test_a_password_that_is_short_long_or_the_name_is_refused(password: str, sentence: str) -> None:
    with pytest.raises(Invalid, match=sentence) as refusal:
        passwords.check_new(password, "ada@example.org")
    assert refusal.value.field == "password"


@pytest.mark.parametrize("password", ["ten chars!", "Füße im Fluß", "pass word with spaces ", "🦊" * 10, "x" * 1000])
async def test_any_other_is_taken_as_it_was_written(password: str) -> None:
    passwords.check_new(password, "ada")
    kept = await passwords.hash_of(password)
    assert password not in kept
    assert await passwords.is_right(password, kept)
    assert not await passwords.is_right(password.strip() + "x", kept)
    assert not await passwords.is_right(password + "x" * 1001, kept)


async def test_the_same_password_is_kept_differently_each_time() -> None:
    assert await passwords.hash_of("correct horse battery") != await passwords.hash_of("correct horse battery")


@pytest.mark.parametrize("password", ["\ud800 half a pair", "with \x00 in it"])
async def test_what_is_no_text_is_no_failure(password: str) -> None:
    assert await passwords.is_right(password, await passwords.hash_of(password))


@pytest.mark.parametrize("kept", ["", "not a hash", "$argon2id$v=19$m=8,t=1,p=1$broken"])
async def test_nobody_signs_in_where_there_is_no_hash(kept: str) -> None:
    assert not await passwords.is_right("", kept)
    assert not await passwords.is_right("correct horse battery", kept)


def test_hashes_are_as_costly_as_the_library_recommends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    recommended = extract_parameters(PasswordHasher().hash("x"))
    assert extract_parameters(passwords.hasher.hash("x")) == recommended
    assert extract_parameters(passwords.NOBODYS) == recommended
