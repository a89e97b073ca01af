"""``python -m caroni.config``: print the configuration reference."""

import sys

from caroni.config.reference import reference

sys.stdout.write(reference())
