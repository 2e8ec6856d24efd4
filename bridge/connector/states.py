"""What the holder of a connection writes to its row, and to its account. Nothing where another connector has it now."""

from __future__ import annotations

from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models import Case, F, When
from django.utils import timezone

from accounts.fields import sealed
from accounts.health import CODE_LENGTH, Health
from accounts.models import ChannelAccount, Connection, ConnectionGap
from channels_wechat.contract.connection import LOGIN_STATES, NEEDS_LOGIN, ConnectionState
from channels_wechat.contract.text import clean, clean_json

if TYPE_CHECKING:
    from channels_wechat.contract.explanations import Params

NO_PARAMS: Params = MappingProxyType({})


def store_state(row: Connection, state: ConnectionState, code: str = "", params: Params = NO_PARAMS) -> bool:
    """Store the state and its cause. Return whether it was written: it differs, and we are the holder.

    With another cause the same state still lasts since it began.
    """
    code, params = code[:CODE_LENGTH], clean_json(dict(params))
    changed = row.as_held().exclude(state=state, code=code, code_params=params)
    cleared = {} if state in LOGIN_STATES else {"login_code": ""}
    since = Case(When(state=state, then=F("state_since")), default=timezone.now())
    return bool(changed.update(state=state, code=code, code_params=params, state_since=since, **cleared))


def store_frame_time(row: Connection, seconds: float) -> None:
    """Store when the last frame came. seconds: Unix time."""
    row.as_held().update(last_frame_at=datetime.fromtimestamp(seconds, UTC))


def store_cursor(row: Connection, cursor: str) -> bool:
    return bool(row.as_held().update(cursor=cursor))


@transaction.atomic
def store_login(row: Connection, code: str, *, scanned: bool) -> None:
    """Store that nobody is logged in, and the text of the QR code that staff have to scan.

    An account that was logged in begins to fail. A new one stays new, so that nobody is alerted before it was ever used.
    """
    store_state(row, ConnectionState.SCANNED if scanned else ConnectionState.NEEDS_LOGIN)
    row.as_held().update(login_code=sealed(Connection, "login_code", row.device_id, code) if code else "")
    if _was_logged_in(row):
        store_account_state(row, Health.FAILING, NEEDS_LOGIN)
    else:
        store_account_state(row, Health.NEW)


def _was_logged_in(row: Connection) -> bool:
    worked = ChannelAccount.objects.filter(connection=row, state=Health.OK)
    return row.as_held().exclude(own_id="").exists() or worked.exists()


def forget_left_state(row: Connection) -> None:
    """Take away what another holder left: it is neither connected nor waits for a login before this one has said so."""
    left = row.as_held().filter(state__in=(ConnectionState.CONNECTED, *LOGIN_STATES))
    left.update(state=ConnectionState.CONNECTING, code="", code_params={}, state_since=timezone.now(), login_code="")


def store_identity(row: Connection, own_id: str, own_name: str) -> None:
    row.as_held().update(own_id=clean(own_id)[:200], own_name=clean(own_name)[:200])


def may_send(account_id: int) -> bool:
    """Whether staff let anything be sent by the account now."""
    account = ChannelAccount.objects.only("enabled", "state", "sending_stopped_at").filter(pk=account_id).first()
    return account is not None and account.may_send


def store_account_state(row: Connection, state: Health, code: str = "", params: Params = NO_PARAMS) -> bool:
    account = row.account
    if account is None:
        raise ValueError("this is the connection of a gateway")
    held = ChannelAccount.objects.filter(pk=account.pk, connection__fence=row.fence)
    return account.set_state(state, code, params, held)


@transaction.atomic
def store_opened(row: Connection, *, keeps_history: bool) -> None:
    """Store that the platform has accepted us, and from when to when there was no connection."""
    before = row.as_held().select_for_update().first()
    if before is None or before.account_id is None:
        return
    now = timezone.now()
    if before.last_frame_at and not keeps_history:
        ConnectionGap.objects.create(account_id=before.account_id, since=before.last_frame_at, until=now)
    store_state(row, ConnectionState.CONNECTED)
    row.as_held().update(last_frame_at=now)
    store_account_state(row, Health.OK)
