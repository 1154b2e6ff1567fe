"""``python -m jaxgroups._native build``: compile the kernels for the installed jaxlib."""

import sys
from pathlib import Path

from jaxgroups import _native as native
from jaxgroups._native import build as _build


def main(arguments: list[str]) -> int:
    """Build beside the package, or in the user's cache where that cannot be written."""
    if arguments[:1] != ["build"]:
        print("usage: python -m jaxgroups._native build", file=sys.stderr)
        return 2
    error: Exception | None = None
    for place in native.places():
        try:
            built: Path = _build.build(place)
        except _build.BuildError as failure:
            error = failure
            break
        except OSError as failure:  # cannot be written: try the next
            error = failure
            continue
        print(f"built {built}")
        return 0
    print(f"jaxgroups: {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
