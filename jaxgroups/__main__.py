"""``python -m jaxgroups``."""

from jaxgroups.cli import main

raise SystemExit(main())
