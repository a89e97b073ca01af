"""Everything is said in pyproject.toml, but that an installed package carries the samples too."""

from pathlib import Path
from shutil import copytree

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithSamples(build_py):
    """``caroni demo`` finds the samples in the package, or in the checkout it is installed from."""

    def run(self) -> None:
        """Build, then put the samples in."""
        super().run()
        if not self.editable_mode:
            copytree("samples", Path(self.build_lib, "caroni", "samples"), dirs_exist_ok=True)


setup(cmdclass={"build_py": BuildWithSamples})
