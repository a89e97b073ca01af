"""The configuration as frozen structs.

Every key's meaning, unit, default and limits are stated here; ``docs/configuration.md`` is printed from
this module.

Durations are microseconds and sizes bytes inside; in the file they are text with a unit. Paths in the file
are relative to the file's directory; here they are absolute.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from caroni.core.plan import DAY, HOUR, MINUTE, SECOND

Duration = Annotated[int, Meta(extra={"unit": "duration"})]
Size = Annotated[int, Meta(extra={"unit": "size"})]
Role = Literal["manager", "agent", "submitter"]

GIB = 1024**3


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=False):
    """A table of the file."""


class Security(Section, frozen=True, kw_only=True):
    """Identity, trust and what is refused."""

    mode: Annotated[
        Literal["required", "lab"],
        Meta(
            description="`required` refuses every unsigned message. `lab` also accepts peers of the base "
            "protocol, which cannot sign; it is shown on every screen and must never face a network you do "
            "not control."
        ),
    ] = "required"
    skew: Annotated[
        Duration,
        Meta(le=DAY, description="How far a peer's clock may be ahead of ours or before its certificate."),
    ] = 5 * MINUTE
    trust_dir: Annotated[
        Path, Meta(description="Directory with one trust file for each site whose peers are believed.")
    ] = Path("trust.d")
    key_file: Annotated[
        Path, Meta(description="This daemon's private key; mode 0600, or the daemon does not start.")
    ] = Path("identity.key")
    certificate_file: Annotated[Path, Meta(description="This daemon's certificate (PEM).")] = Path(
        "identity.crt"
    )


class Database(Section, frozen=True, kw_only=True):
    """Where this daemon keeps its state: one database for each daemon."""

    url: Annotated[
        str,
        Meta(
            description="`sqlite://FILE` (relative to this file's directory; never on a network file system) "
            "or `postgres://USER@HOST:5432/NAME`."
        ),
    ] = "sqlite://caroni.db"
    password_file: Annotated[
        Path | None, Meta(description="File (mode 0600) that holds the PostgreSQL password.")
    ] = None


class Amqp(Section, frozen=True, kw_only=True):
    """The broker."""

    url: Annotated[
        str,
        Meta(
            description="`amqps://[USER@]HOST[:PORT]/[VHOST]`. Plain `amqp://` is taken for the local host "
            "only, unless `allow_plain` is set. A password does not belong here: see `password_file`."
        ),
    ] = "amqp://localhost/"
    password_file: Annotated[
        Path | None, Meta(description="File (mode 0600) that holds the broker user's password.")
    ] = None
    allow_plain: Annotated[
        bool, Meta(description="Connect to other hosts without TLS (messages stay signed, but are readable).")
    ] = False
    ca_file: Annotated[
        Path | None,
        Meta(description="Certificates of the broker's CA (PEM); without it, those of the system."),
    ] = None
    cert_file: Annotated[
        Path | None, Meta(description="TLS client certificate for the broker (not the identity's).")
    ] = None
    key_file: Annotated[Path | None, Meta(description="Private key of `cert_file`; mode 0600.")] = None
    exchange: Annotated[
        str, Meta(min_length=1, max_length=127, description="Topic exchange, durable; equal for all peers.")
    ] = "caroni"
    base_exchange: Annotated[
        str,
        Meta(
            max_length=127,
            description="Topic exchange, not durable, of base-protocol peers, which sign nothing. Theirs "
            'is named `caroni_exchange`. Empty: there are none. Needs `security.mode = "lab"`.',
        ),
    ] = ""
    queue_type: Annotated[
        Literal["classic", "quorum"],
        Meta(
            description="Type of this daemon's durable queues: `classic` on one node, `quorum` on a cluster."
        ),
    ] = "classic"
    heartbeat: Annotated[
        Duration,
        Meta(ge=SECOND, le=HOUR, description="AMQP heartbeat; a broker silent for three of them has gone."),
    ] = 20 * SECOND
    prefetch: Annotated[
        int, Meta(ge=1, le=10_000, description="Unacknowledged deliveries the broker hands over at once.")
    ] = 200
    in_flight: Annotated[
        int, Meta(ge=1, le=10_000, description="Publishes that may wait for the broker's confirm at once.")
    ] = 200
    publish_timeout: Annotated[
        Duration,
        Meta(ge=SECOND, description="After this long without a confirm the same bytes go out again."),
    ] = 30 * SECOND


class AllowSubmitter(Section, frozen=True, kw_only=True):
    """Who may start workflows. Nobody may unless a rule says so; the first rule that fits decides."""

    submitter: Annotated[
        str,
        Meta(
            description="Identity pattern `caroni://SITE/submitter/NAME`; only NAME may hold `*`.",
            extra={"pattern": "submitter"},
        ),
    ]
    templates: Annotated[
        tuple[str, ...], Meta(description="Names of templates; `*` stands for any run of characters.")
    ] = ("*",)


class TrustAgent(Section, frozen=True, kw_only=True):
    """Which agents' offers are taken. None is unless a rule says so; the first rule that fits decides."""

    agent: Annotated[
        str,
        Meta(
            description="Identity pattern `caroni://SITE/agent/NAME`; only NAME may hold `*`.",
            extra={"pattern": "agent"},
        ),
    ]
    job_types: Annotated[
        tuple[str, ...],
        Meta(description="Job types this agent may be given; `*` stands for any run of characters."),
    ] = ("*",)


class Manager(Section, frozen=True, kw_only=True):
    """The manager's own settings. They have no place in another role's file."""

    max_open_requests: Annotated[
        int, Meta(ge=1, le=100_000, description="Steps that may be looking for an agent at the same time.")
    ] = 500
    rebroadcast_min: Annotated[
        Duration,
        Meta(ge=SECOND, description="An unanswered request is sent again after this, then doubling."),
    ] = 30 * SECOND
    rebroadcast_max: Annotated[
        Duration, Meta(ge=SECOND, description="Longest time between two repeats of a request.")
    ] = 30 * MINUTE
    offer_window: Annotated[
        Duration,
        Meta(description="How long offers are collected before the best is taken; 0: the first one wins."),
    ] = 0
    accept_resend_min: Annotated[
        Duration, Meta(ge=SECOND, description="An unanswered acceptance is sent again after this, doubling.")
    ] = 10 * SECOND
    accept_resend_max: Annotated[
        Duration, Meta(ge=SECOND, description="Longest time between two repeats of an acceptance.")
    ] = 10 * MINUTE
    accept_tries: Annotated[
        int, Meta(ge=1, le=1000, description="After so many unanswered acceptances another agent is asked.")
    ] = 12
    poll_interval: Annotated[
        Duration, Meta(ge=SECOND, description="A job that has said nothing for this long is asked.")
    ] = 5 * MINUTE
    suspect_after: Annotated[
        Duration, Meta(ge=SECOND, description="An agent silent for this long is shown as suspect.")
    ] = 15 * MINUTE
    lost_after: Annotated[
        Duration,
        Meta(
            ge=MINUTE,
            description="An agent silent for this long has lost its jobs, where the step does not say "
            "otherwise and the agent announced nothing longer.",
        ),
    ] = 40 * MINUTE
    max_offline_cap: Annotated[
        Duration, Meta(description="The longest announced absence that is granted to an agent.")
    ] = 7 * DAY
    kill_resend_min: Annotated[
        Duration, Meta(ge=SECOND, description="An unanswered kill is sent again after this, doubling.")
    ] = MINUTE
    kill_resend_max: Annotated[
        Duration, Meta(ge=SECOND, description="Longest time between two repeats of a kill.")
    ] = HOUR
    unanswered_after: Annotated[
        Duration,
        Meta(ge=SECOND, description="A request that nobody has answered for this long is worth a warning."),
    ] = 2 * MINUTE
    restore_hold: Annotated[
        Duration,
        Meta(
            ge=MINUTE,
            description="After the database was put back: for this long jobs that it does not know are taken "
            "up or kept, never stopped.",
        ),
    ] = DAY
    allow_submitter: tuple[AllowSubmitter, ...] = ()
    trust: tuple[TrustAgent, ...] = ()


class AllowManager(Section, frozen=True, kw_only=True):
    """Which managers this agent works for. None unless a rule says so; the first rule that fits decides."""

    manager: Annotated[
        str,
        Meta(
            description="Identity pattern `caroni://SITE/manager/NAME`; only NAME may hold `*`.",
            extra={"pattern": "manager"},
        ),
    ]
    job_types: Annotated[
        tuple[str, ...],
        Meta(description="Job types it may run here; `*` stands for any run of characters."),
    ] = ("*",)
    max_running: Annotated[
        int, Meta(ge=0, description="Its jobs that may run at once; 0: as many as there are slots.")
    ] = 0
    max_queued: Annotated[
        int, Meta(ge=1, description="Its jobs that may be accepted and not yet running; more are declined.")
    ] = 1000
    offers_outstanding: Annotated[
        int, Meta(ge=1, description="Reservations it may hold at once; more requests are declined.")
    ] = 1000
    max_runtime: Annotated[
        Duration, Meta(description="Longest run of one of its jobs; 0: the job definition's own limit.")
    ] = 0


class Absence(Section, frozen=True, kw_only=True):
    """Hours in which the agent is away. Managers are told ahead, and wait with giving its jobs up.

    In them nothing is begun; jobs that run go on. Windows that touch are one absence.
    """

    offline: Annotated[
        str,
        Meta(
            description="`18:00-06:00`: from and to, as a clock there shows; an end that is not later is on "
            "the next day. The whole day is `00:00-24:00`."
        ),
    ]
    days: Annotated[
        tuple[str, ...],
        Meta(description="Days on which it begins: `mon` to `sun`, or `mon-fri`. Empty: every day."),
    ] = ()
    time_zone: Annotated[
        str, Meta(description="IANA name such as `Europe/Zurich`. Empty: the host's time zone.")
    ] = ""


class Agent(Section, frozen=True, kw_only=True):
    """The agent's own settings. They have no place in another role's file."""

    slots: Annotated[
        int,
        Meta(ge=1, le=10_000, description="Jobs that run at once.", extra={"default": "number of cores"}),
    ] = msgspec.field(default_factory=lambda: os.cpu_count() or 1)
    spool_dir: Annotated[
        Path, Meta(description="Directory for the jobs' files; on a local disk, kept between restarts.")
    ] = Path("spool")
    definitions: Annotated[
        Literal["database", "files"],
        Meta(
            description="Where job definitions come from. With `files` only the directory below counts, and "
            "no definition can be changed through the database."
        ),
    ] = "database"
    definitions_dir: Annotated[
        Path, Meta(description="Directory of job definition files (`*.yaml`, `*.yml`) for `files`.")
    ] = Path("jobs.d")
    offer_ttl: Annotated[
        Duration, Meta(ge=SECOND, description="How long a reservation waits for the manager's answer.")
    ] = HOUR
    max_offline: Annotated[
        Duration, Meta(description="How long managers are asked to wait for this agent when it vanishes.")
    ] = 0
    presence_interval: Annotated[
        Duration, Meta(ge=SECOND, description="Time between two signs of life to the managers.")
    ] = MINUTE
    input_timeout: Annotated[
        Duration, Meta(ge=MINUTE, description="A job whose inputs have not come after this long fails.")
    ] = DAY
    result_resend_min: Annotated[
        Duration, Meta(ge=SECOND, description="A result not yet released is sent again after this, doubling.")
    ] = 5 * MINUTE
    result_resend_max: Annotated[
        Duration, Meta(ge=SECOND, description="Longest time between two repeats of a result.")
    ] = 6 * HOUR
    kill_grace: Annotated[
        Duration, Meta(description="Time between SIGTERM and SIGKILL when a job is stopped.")
    ] = 30 * SECOND
    job_user: Annotated[
        str,
        Meta(
            description="User that jobs run as, so that they cannot read this daemon's files; needs an agent "
            "that runs as root. Empty: the agent's own user."
        ),
    ] = ""
    log_tail: Annotated[
        bool, Meta(description="Let managers read the end of their own jobs' stdout and stderr on request.")
    ] = False
    allow: tuple[AllowManager, ...] = ()
    schedule: tuple[Absence, ...] = ()


class Submitter(Section, frozen=True, kw_only=True):
    """The submitter's own settings. They have no place in another role's file."""

    manager: Annotated[
        str,
        Meta(
            description="Identity of the manager that workflows go to, `caroni://SITE/manager/NAME`, where "
            "`--manager` names no other."
        ),
    ] = ""


class Limits(Section, frozen=True, kw_only=True):
    """What bounds this daemon's use of the host."""

    disk_reserve: Annotated[
        Size, Meta(description="Below this much free disk nothing new is offered, accepted or submitted.")
    ] = GIB
    outbox_rows: Annotated[
        int, Meta(ge=100, description="With more unsent messages than this no new work is asked for.")
    ] = 10_000


class PluginsSection(Section, frozen=True, kw_only=True):
    """Plugins that are installed beside Caroni."""

    disabled: Annotated[
        tuple[str, ...], Meta(description="Names of installed plugins (entry points) that are not loaded.")
    ] = ()


class Log(Section, frozen=True, kw_only=True):
    """Log lines on stderr."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="The least important line written.")
    ] = "info"
    format: Annotated[
        Literal["auto", "human", "json"],
        Meta(description="`auto`: for people on a terminal, one JSON object a line otherwise."),
    ] = "auto"


class Retention(Section, frozen=True, kw_only=True):
    """How long what has ended is kept. A job that no manager has released is never removed."""

    workflows: Annotated[Duration, Meta(description="Ended workflows with their messages.")] = 30 * DAY
    ledger_bytes: Annotated[
        Size, Meta(description="Sealed messages of ended workflows; beyond this the oldest workflow goes.")
    ] = 2 * GIB
    released_jobs: Annotated[Duration, Meta(description="Files and rows of released jobs.")] = DAY
    offers: Annotated[Duration, Meta(description="An agent's offers that came to nothing.")] = 30 * DAY
    quarantine: Annotated[Duration, Meta(description="Messages that could not be handled.")] = 30 * DAY
    commands: Annotated[
        Duration, Meta(description="Operators' commands that are done, with their answers.")
    ] = 30 * DAY


class Config(Section, frozen=True, kw_only=True):
    """One daemon's or submitter's configuration."""

    role: Annotated[Role, Meta(description="What this directory is: `manager`, `agent` or `submitter`.")]
    site: Annotated[
        str,
        Meta(
            pattern=r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$",
            description="The site that vouches for this identity, usually a domain name.",
        ),
    ]
    name: Annotated[
        str,
        Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", description="This identity's name within site and role."),
    ]
    federation: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=64,
            description="Messages of another federation are refused, even if correctly signed.",
        ),
    ] = "default"
    security: Security = Security()
    database: Database = Database()
    amqp: Amqp = Amqp()
    manager: Manager = Manager()
    agent: Agent = msgspec.field(default_factory=Agent)
    submitter: Submitter = Submitter()
    limits: Limits = Limits()
    plugins: PluginsSection = PluginsSection()
    log: Log = Log()
    retention: Retention = Retention()

    @property
    def uri(self) -> str:
        """This identity, as its certificate must name it."""
        return f"caroni://{self.site}/{self.role}/{self.name}"
