"""What bash itself says about a script's grammar, without running any of it."""

from __future__ import annotations

import re
import shutil
import subprocess

import msgspec

#: seconds; reading a script takes milliseconds
_PATIENCE = 5.0
_MESSAGE = re.compile(r"(?:/dev/stdin|\S*bash): line (\d+): (.*)")
_DETAIL = re.compile(r"syntax error near|syntax error:|unexpected|here-document")


class SyntaxFault(msgspec.Struct, frozen=True, kw_only=True):
    """A fault of a script. ``line`` counts from 1 within it; what is not ``fatal`` is a remark."""

    line: int
    text: str
    fatal: bool


def bash_faults(script: str) -> list[SyntaxFault]:
    """Faults that ``bash -n`` finds; none where there is no bash to ask.

    ``-n`` reads commands and runs none; start-up files are left out, and so is the environment.
    """
    program = shutil.which("bash")
    if program is None:
        return []
    try:
        done = subprocess.run(  # noqa: S603
            [program, "--norc", "--noprofile", "-n"],
            input=script.encode(errors="replace"),
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    found = []
    for line in done.stderr.decode(errors="replace").splitlines():
        match = _MESSAGE.match(line)
        # bash repeats the offending line below its message
        if match and _DETAIL.search(match[2]):
            text = match[2].removeprefix("warning: ").strip()
            found.append(
                SyntaxFault(line=int(match[1]), text=text, fatal=not match[2].startswith("warning: "))
            )
    return found[:20]
