"""The schema as Tortoise models: one database per daemon, the same schema for both roles.

The first line of a docstring becomes the table's comment, so it holds no semicolon and no apostrophe.
"""

from __future__ import annotations

from caroni.model.tables.agent import (
    AgentInputTable,
    AgentJobTable,
    AgentOfferTable,
    AgentOutputTable,
    AvailabilityTable,
)
from caroni.model.tables.catalog import JobDefinitionTable, TemplateTable
from caroni.model.tables.control import CommandTable, SettingTable, TombstoneTable
from caroni.model.tables.manager import (
    FlowTable,
    JobLogTable,
    JobOutputTable,
    JobTable,
    OfferTable,
    OrphanTable,
    RequestTable,
    StepTable,
    WorkflowTable,
)
from caroni.model.tables.peer import PeerTable
from caroni.model.tables.traffic import (
    CertificateTable,
    InboxTable,
    LedgerItemTable,
    LedgerTable,
    OutboxTable,
    QuarantineTable,
    RejectCountTable,
    RejectTable,
    SequenceTable,
    SuspectTable,
)

__all__ = [
    "AgentInputTable",
    "AgentJobTable",
    "AgentOfferTable",
    "AgentOutputTable",
    "AvailabilityTable",
    "CertificateTable",
    "CommandTable",
    "FlowTable",
    "InboxTable",
    "JobDefinitionTable",
    "JobLogTable",
    "JobOutputTable",
    "JobTable",
    "LedgerItemTable",
    "LedgerTable",
    "OfferTable",
    "OrphanTable",
    "OutboxTable",
    "PeerTable",
    "QuarantineTable",
    "RejectCountTable",
    "RejectTable",
    "RequestTable",
    "SequenceTable",
    "SettingTable",
    "StepTable",
    "SuspectTable",
    "TemplateTable",
    "TombstoneTable",
    "WorkflowTable",
]
