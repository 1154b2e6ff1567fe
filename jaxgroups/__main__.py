"""``python -m jaxgroups``: the command line."""

from jaxgroups.cli import main

raise SystemExit(main())
