"""From a bundle of CWL documents to a plan: the subset that this version runs, and every static check.

Whatever can be known before a workflow runs is refused here, with file, line and column: unknown or
unsupported features, links that lead nowhere, missing inputs, types that cannot meet, cycles.
"""

from __future__ import annotations

from caroni.core.plan import Plan
from caroni.core.valuewords import quoted
from caroni.cwl.bundle import Bundle
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
    return _load(bundle, entry, None)


def inspect(bundle: Bundle, entry: str | None = None) -> tuple[Plan | None, list[DocumentError]]:
    """All that can be told at once about documents that are being written.

    Returns:
        the plan, without what is wrong (None if not even its outline can be read), and the faults, first
        the one that :func:`load` would raise. The plan is only good to be looked at if there are any.
    """
    faults: list[DocumentError] = []
    try:
        return _load(bundle, entry, faults), faults
    except DocumentError as error:
        return None, [error, *faults]


def _load(bundle: Bundle, entry: str | None, faults: list[DocumentError] | None) -> Plan:
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
        return PlanBuilder(documents, process, faults).build()
    except RecursionError:
        raise DocumentError(f"{quoted(bundle.main)} is nested too deeply", file=bundle.main) from None
