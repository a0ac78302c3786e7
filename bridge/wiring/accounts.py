"""The services for staff accounts, which need neither CAs nor a source of revocation."""

from __future__ import annotations

from argon2 import PasswordHasher, profiles

from bridge.accounts.own_account import OwnAccountService
from bridge.accounts.second_factor import SecondFactorPolicy
from bridge.accounts.staff import StaffService
from bridge.counter.koha_desk import DeskService
from bridge.environment import Environment
from bridge.wiring.environment import build_environment
from config import Settings


def staff_over(environment: Environment) -> StaffService:
    """Return the service of all staff accounts of an environment."""
    return StaffService(environment, PasswordHasher.from_parameters(profiles.RFC_9106_LOW_MEMORY))


def own_account_over(settings: Settings, environment: Environment, staff: StaffService) -> OwnAccountService:
    """Return the service by which staff look after their own accounts."""
    return OwnAccountService(environment, staff, SecondFactorPolicy(settings.web.second_factor))


def build_staff(settings: Settings) -> StaffService:
    """Return the service of all staff accounts, for a command."""
    return staff_over(build_environment(settings))


def build_desk(settings: Settings) -> tuple[DeskService, StaffService]:
    """Return the services that say who may open the desk in Koha's staff pages."""
    environment = build_environment(settings)
    staff = staff_over(environment)
    return DeskService(environment, staff, own_account_over(settings, environment, staff)), staff
