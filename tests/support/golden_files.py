"""Files that a test compares byte by byte; JAXGROUPS_UPDATE_GOLDEN=1 rewrites them.

After an update, look at the pictures and at ``git diff`` before you commit.
"""

import os
from pathlib import Path

GOLDEN = Path(__file__).parents[1] / "golden"
PAGES = GOLDEN.parents[1] / "docs" / "pictures"  # the pictures of the documentation
UPDATE = os.environ.get("JAXGROUPS_UPDATE_GOLDEN") == "1"


def assert_golden(text: str, path: Path) -> None:
    """Check that the file at `path` contains `text`; with the variable set, write it."""
    if UPDATE:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert path.exists(), f"{path.name} is missing: JAXGROUPS_UPDATE_GOLDEN=1 writes it"
    if path.read_text(encoding="utf-8") != text:
        seen = path.with_suffix(".new" + path.suffix)
        seen.write_text(text, encoding="utf-8")
        raise AssertionError(
            f"{path.name} has changed; the new content is in {seen.name}. Look at both; "
            "JAXGROUPS_UPDATE_GOLDEN=1 keeps the new content"
        )
