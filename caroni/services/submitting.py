"""Beginning a workflow from the manager's own host: a command to the manager, no broker and no submitter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from caroni.config import Loaded
from caroni.core.commands import SubmitWorkflow
from caroni.core.messages import Json
from caroni.errors import MessageRejected, UsageError
from caroni.services.control import PATIENCE, give, require
from caroni.text import safe_line

if TYPE_CHECKING:
    from caroni.model.store import Store

#: the longest name of a workflow, characters (the protocol's limit)
MAX_NAME = 256


class Submitted(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow that the manager has begun: its id in hexadecimal, and what it runs."""

    workflow: str
    name: str
    revision: int


async def submit(
    loaded: Loaded,
    store: Store,
    template: str,
    inputs: Mapping[str, Json],
    *,
    revision: int = 0,
    name: str = "",
    kill_on_failure: bool = False,
    reserve_all: bool = False,
    patience: float = PATIENCE,
) -> Submitted:
    """Have the manager begin a workflow for its own operator.

    The command is carried out once: after :class:`~caroni.services.control.LeftForLater` it must not be
    given again.

    Args:
        loaded: the manager's configuration.
        store: its database, open for writing.
        template: which one.
        inputs: input name to JSON text.
        revision: of the template, 0 for the newest.
        name: for people; the template's if empty.
        kill_on_failure: running steps are killed when another has failed for good.
        reserve_all: agents are asked for all steps at once.
        patience: seconds that a manager which runs has for its answer.

    Raises:
        UsageError: an input is no JSON or too large, the name is too long, or it is no manager's
            configuration.
        CommandRefused: no such template, or an input is missing, unknown or does not fit.
        LeftForLater: no answer yet; the command stays and will be carried out.
        TransientError: the database is busy or away.
    """
    from caroni.wire.values import MAX_VALUE, check_json

    require(loaded, "manager", "this kind of submit")
    if len(name) > MAX_NAME or "\0" in name:
        raise UsageError(f"the workflow's name is longer than {MAX_NAME} characters, or holds a NUL")
    for key, value in inputs.items():
        try:
            if len(value) > MAX_VALUE:
                raise UsageError(f"input {safe_line(key, 60)} is larger than {MAX_VALUE} bytes: pass a File")
            check_json(value)
        except MessageRejected as error:
            raise UsageError(f"input {safe_line(key, 60)}: {error.detail}") from None
    answer = await give(
        loaded,
        store,
        SubmitWorkflow(
            template=template,
            revision=revision,
            name=name,
            inputs=dict(inputs),
            kill_on_failure=kill_on_failure,
            reserve_all=reserve_all,
        ),
        patience=patience,
    )
    return msgspec.convert(answer.result, Submitted)
