"""Counts the words of a text and tells the most common ones."""

import re
import sys
from collections import Counter
from pathlib import Path


def words_of(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def main(path: str) -> None:
    counted = Counter(words_of(Path(path).read_text()))
    print(f"{counted.total()} words, {len(counted)} different ones")
    for word, count in counted.most_common(5):
        print(f"{count:4} {word}")


if __name__ == "__main__":
    main(sys.argv[1])
