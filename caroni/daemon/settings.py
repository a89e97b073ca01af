"""From a configuration to what the core takes: settings and policies as plain values and functions.

A manager's settings are in :mod:`caroni.services.timers`, because what explains its decisions needs them too.
"""

from __future__ import annotations

from caroni.config import AllowManager, Config
from caroni.config.schedule import window_of
from caroni.core.agent.state import AgentPolicy, AgentSettings, Allowance
from caroni.core.manager.state import ManagerPolicy
from caroni.core.messages import Site
from caroni.core.patterns import Rules


def manager_policy(config: Config) -> ManagerPolicy:
    """Whom the manager believes, from its rules: nobody, unless one says so."""
    trust = Rules((r.agent, r.job_types, r) for r in config.manager.trust)
    submitters = Rules((r.submitter, r.templates, r) for r in config.manager.allow_submitter)
    return ManagerPolicy(
        may_serve=lambda agent, job_type, data_class: trust.find(agent, job_type) is not None,
        may_submit=lambda submitter, template: submitters.find(submitter, template) is not None,
        may_control=lambda sender, workflow: sender == workflow.submitter,
        rank=lambda request, offer: -float(offer.queue_depth),
        knows=trust.knows,
    )


def agent_settings(config: Config) -> AgentSettings:
    """The agent's timers and bounds."""
    a = config.agent
    return AgentSettings(
        slots=a.slots,
        site=Site(site_identifier=config.site),
        offer_ttl=a.offer_ttl,
        max_offline=a.max_offline,
        input_timeout=a.input_timeout,
        result_resend=a.result_resend_min,
        result_resend_cap=a.result_resend_max,
    )


def agent_policy(config: Config) -> AgentPolicy:
    """Whom the agent works for, from its rules: nobody, unless one says so."""
    rules = Rules(
        (rule.manager, rule.job_types, _allowance(number, rule))
        for number, rule in enumerate(config.agent.allow)
    )
    return AgentPolicy(
        allow=rules.find,
        decide=lambda manager, request, job_type, load: None,
        window=window_of(config.agent.schedule),
        knows=rules.knows,
    )


def _allowance(number: int, rule: AllowManager) -> Allowance:
    return Allowance(
        rule=f"agent.allow[{number}]",
        max_running=rule.max_running,
        max_queued=rule.max_queued,
        offers_outstanding=rule.offers_outstanding,
        max_runtime=rule.max_runtime,
    )
