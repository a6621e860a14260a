"""One test of many texts."""

from collections.abc import Callable, Iterable


def each(texts: Iterable[str]) -> Callable[[Callable[[str], None]], Callable[[], None]]:
    """Checks all of them in one test: hundreds of tests of a millisecond would cost more than what they try.

    The text on which it fails is the argument of `check` in the traceback.
    """
    known = list(texts)
    assert len(known) > 1

    def of_all(check: Callable[[str], None]) -> Callable[[], None]:
        def test() -> None:
            for text in known:
                check(text)

        test.__name__, test.__doc__, test.__module__ = check.__name__, check.__doc__, check.__module__
        return test

    return of_all
