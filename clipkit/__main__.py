"""`python -m clipkit` is `clipkit`."""

from clipkit.cli import main

raise SystemExit(main())
