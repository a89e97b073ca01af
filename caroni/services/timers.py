"""A manager's timers and bounds as its configuration sets them: what it decides by, and what explains it."""

from __future__ import annotations

from caroni.config import Config
from caroni.core.manager.state import ManagerSettings


def manager_settings(config: Config) -> ManagerSettings:
    """The manager's timers and bounds."""
    m = config.manager
    return ManagerSettings(
        max_open_requests=m.max_open_requests,
        rebroadcast=m.rebroadcast_min,
        rebroadcast_cap=m.rebroadcast_max,
        offer_window=m.offer_window,
        accept_resend=m.accept_resend_min,
        accept_resend_cap=m.accept_resend_max,
        accept_tries=m.accept_tries,
        poll=m.poll_interval,
        poll_cap=max(m.poll_interval, ManagerSettings().poll_cap),
        suspect_after=m.suspect_after,
        lost_after=m.lost_after,
        max_offline_cap=m.max_offline_cap,
        kill_resend=m.kill_resend_min,
        kill_resend_cap=m.kill_resend_max,
        unanswered_after=m.unanswered_after,
        restore_hold=m.restore_hold,
    )
