"""Who looks at the pages, and what there is to see."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from channels_wechat.simulator import RunningSimulator
from tests.support import factories

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import redis

    from accounts.models import ChannelAccount


@pytest.fixture(autouse=True)
def _servers(db: None, valkey: redis.Redis, settings: object, tmp_path: Path) -> None:
    """Rows, an empty Valkey, and a folder for files."""
    settings.MEDIA_ROOT = str(tmp_path)  # type: ignore[attr-defined]
    Path(settings.STATIC_ROOT).mkdir(parents=True, exist_ok=True)  # type: ignore[attr-defined]  # whitenoise warns without


@pytest.fixture
def world() -> factories.World:
    return factories.build_world()


@pytest.fixture
def boss(admin_user: User) -> Iterator[Client]:
    """May do everything."""
    client = Client()
    client.force_login(admin_user)
    return client


@pytest.fixture
def staff() -> Callable[..., Client]:
    """staff("bridge.view_message", …): somebody with just these rights."""

    def make(*permissions: str) -> Client:
        user = User.objects.create_user("staff", is_staff=True)
        for permission in permissions:
            app, codename = permission.split(".")
            user.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
        client = Client()
        client.force_login(user)
        return client

    return make


@pytest.fixture
def simulator() -> Iterator[RunningSimulator]:
    with RunningSimulator() as running:
        fields = {"corpid": factories.CORP, "secret": factories.SECRET, "name": "Acme", "members": None}
        running.client.app(factories.AGENT, token=factories.TOKEN, aes_key=factories.KEY, **fields)
        for member in ("zhangsan", "lisi", "wangwu"):
            running.client.member(member, member.title())
        yield running


@pytest.fixture
def app(simulator: RunningSimulator) -> ChannelAccount:
    return factories.account(api_base_url=simulator.url)
