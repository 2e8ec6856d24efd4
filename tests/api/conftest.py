"""Who calls, and what there is to see."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from knox.models import AuthToken

from tests.support import factories

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis

Caller = Client
ROLES = ("anonymous", "nobody", "Viewers", "Operators", "Admins", "boss")


@pytest.fixture(autouse=True)
def _servers(db: None, valkey: redis.Redis, settings: Any, tmp_path: Path) -> None:
    """Rows, an empty Valkey, a folder for files, and no limit that a test could meet by chance."""
    settings.MEDIA_ROOT, settings.API_RATE = str(tmp_path), 1_000_000
    Path(settings.STATIC_ROOT).mkdir(parents=True, exist_ok=True)


@pytest.fixture
def world() -> factories.World:
    built = factories.build_world()
    factories.replay_run(built.dead)
    return built


def user_with(role: str) -> User:
    """role: of ROLES, but anonymous."""
    user = User.objects.create_user(f"{role}-user", password=None, is_superuser=role == "boss", is_staff=True)
    if role not in ("nobody", "boss"):
        user.groups.add(Group.objects.get(name=role))
    return user


def calling_as(user: User) -> Client:
    """A client with a token of this user."""
    _row, token = AuthToken.objects.create(user)
    return Client(raise_request_exception=False, headers={"Authorization": f"Bearer {token}"})


@pytest.fixture
def as_role() -> Callable[[str], Client]:
    def make(role: str) -> Client:
        return Client(raise_request_exception=False) if role == "anonymous" else calling_as(user_with(role))

    return make


@pytest.fixture
def boss(as_role: Callable[[str], Client]) -> Client:
    return as_role("boss")


@pytest.fixture
def viewer(as_role: Callable[[str], Client]) -> Client:
    return as_role("Viewers")


@pytest.fixture
def operator(as_role: Callable[[str], Client]) -> Client:
    return as_role("Operators")
