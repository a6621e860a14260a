"""`riverrun`, and `python -m riverrun`."""

import sys


def main() -> None:
    # Imported where it is needed: the server takes a second or two to import, and a question needs none of it.
    if sys.argv[1:2] == ["ask"]:
        from .asking import ask

        ask(sys.argv[2:], prog_name="riverrun ask")
    else:
        from . import cli

        cli.main()


if __name__ == "__main__":
    main()
