"""From a bundle of CWL documents to a plan: the subset that this version runs, and every static check.

Whatever can be known before a workflow runs is refused here, with file, line and column: unknown or
unsupported features, links that lead nowhere, missing inputs, types that cannot meet, cycles.
"""

from __future__ import annotations

import msgspec

from caroni.core.plan import Plan
from caroni.core.valuewords import quoted
from caroni.cwl.bundle import Bundle
from caroni.cwl.places import Spot
from caroni.errors import DocumentError


def load(bundle: Bundle, entry: str | None = None) -> Plan:
    """Make the plan of a workflow.

    Args:
        bundle: the closed set of documents; nothing else is opened or fetched.
        entry: the process to run in the main document, where it has several (``main`` or ``#main``).

    Raises:
        DocumentError: the document is wrong; the text begins with ``file:line:column:``.
        UnsupportedFeature: it is valid CWL that this version cannot run (exit code 33).
    """
    return _load(bundle, entry, None)[0]


class Inspection(msgspec.Struct, frozen=True, kw_only=True):
    """All that can be told at once about documents that are being written.

    ``plan`` lacks what is wrong, and is None if not even the outline can be read: with ``faults`` it is only
    good to be looked at. ``faults`` begins with the one that :func:`load` would raise, ``advice`` is what is
    allowed but probably not meant.
    """

    plan: Plan | None
    faults: list[DocumentError]
    advice: list[DocumentError]


def inspect(bundle: Bundle, entry: str | None = None) -> Inspection:
    """Check documents as :func:`load` does, but do not stop at the first fault."""
    from caroni.cwl.advice import advise

    faults: list[DocumentError] = []
    try:
        plan, spot = _load(bundle, entry, faults)
    except DocumentError as error:
        return Inspection(plan=None, faults=[error, *faults], advice=[])
    # what a wrong step uses is not known
    return Inspection(plan=plan, faults=faults, advice=[] if faults else list(advise(plan, spot)))


def _load(bundle: Bundle, entry: str | None, faults: list[DocumentError] | None) -> tuple[Plan, Spot]:
    # the parser and the graph library take half a second to import; a command that only asks need not wait
    from caroni.cwl.build import PlanBuilder
    from caroni.cwl.documents import Documents

    documents = Documents(bundle)
    process = documents.entry(entry)
    if process.kind != "Workflow":
        article = "an" if process.kind[0] in "EO" else "a"
        raise process.spot.at("class").unsupported(
            f"{article} {process.kind} cannot be run by itself yet: write a Workflow with a step that runs it"
        )
    try:
        return PlanBuilder(documents, process, faults).build(), process.spot
    except RecursionError:
        raise DocumentError(f"{quoted(bundle.main)} is nested too deeply", file=bundle.main) from None
