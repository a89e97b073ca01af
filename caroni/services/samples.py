"""The samples that come with Caroni: in the package where it was installed, else in the checkout."""

from __future__ import annotations

from pathlib import Path

import caroni
from caroni.errors import UsageError
from caroni.text import safe_line


def samples_directory() -> Path:
    """The directory that holds the samples.

    Raises:
        UsageError: this installation has none.
    """
    package = Path(caroni.__file__).resolve().parent
    for place in (package / "samples", package.parent / "samples"):
        if (place / "text-chain" / "workflow.cwl").is_file():
            return place
    raise UsageError(f"there are no samples in {package}: get them from the source of Caroni")


def sample(name: str) -> Path:
    """A sample's directory, with ``workflow.cwl``, ``inputs.yml`` and ``jobs/``.

    Raises:
        UsageError: there is none of this name; lists them.
    """
    directory = samples_directory()
    names = sorted(p.parent.name for p in directory.glob("*/workflow.cwl"))
    if name not in names:
        raise UsageError(f"there is no sample {safe_line(name, 60)!r}; there are: {', '.join(names)}")
    return directory / name
