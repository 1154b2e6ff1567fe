"""``python -m tests.fuzz`` in a checkout, and ``python tests/fuzz`` with the installed package."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path = [str(HERE.parent), *(p for p in sys.path if Path(p).resolve() != HERE)]

from fuzz.command import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
