"""Files that a test compares byte by byte; JAXGROUPS_UPDATE_GOLDEN=1 writes them anew.

After an update look at the pictures, and at ``git diff``, before you commit.
"""

import os
from pathlib import Path

GOLDEN = Path(__file__).parents[1] / "golden"
PAGES = GOLDEN.parents[1] / "docs" / "pictures"  # what the pages show
UPDATE = os.environ.get("JAXGROUPS_UPDATE_GOLDEN") == "1"


def assert_golden(text: str, path: Path) -> None:
    """`text` is the content of the file at `path`; with the switch it becomes it."""
    if UPDATE:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert path.exists(), f"{path.name} is not there: JAXGROUPS_UPDATE_GOLDEN=1 writes it"
    if path.read_text(encoding="utf-8") != text:
        seen = path.with_suffix(".new" + path.suffix)
        seen.write_text(text, encoding="utf-8")
        raise AssertionError(
            f"{path.name} has changed; the new one is {seen.name} beside it. Look at both; "
            "JAXGROUPS_UPDATE_GOLDEN=1 keeps the new one"
        )
