"""What forms send beside text."""

from typing import Any

from litestar.datastructures import UploadFile

from ..errors import Invalid


def uploads(data: dict[str, Any], field: str = "file") -> list[UploadFile]:
    """The files that were chosen. Raises Invalid if none was."""
    value = data.get(field)
    sent = value if isinstance(value, list) else [value]
    files = [file for file in sent if isinstance(file, UploadFile) and file.filename]
    if not files:
        raise Invalid("Choose a file first.", field=field)
    return files
