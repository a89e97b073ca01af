"""``python -m caroni``: the command line."""

import sys

from caroni.cli import main

sys.exit(main())
