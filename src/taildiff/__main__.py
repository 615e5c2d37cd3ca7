"""`python -m taildiff` is `taildiff`."""

from taildiff.cli.main import main

raise SystemExit(main())
