"""No English on a Chinese page, wherever staff come: each page and each button of the table of rights, forms that are refused, and errors.

A page that is not in that table fails a test there, so none is left out here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.db import OperationalError, transaction
from django.test import Client
from django.urls import path, reverse
from django.utils import timezone

from bridge import urls
from bridge.explanations.incidents import INCIDENTS
from bridge.explanations.tables import nest_cause
from bridge.models import AlertChannel, AlertRule, Conversation, ConversationEntry, Reason, State
from bridge.models.alerts import ChannelKind, RuleKind
from bridge.models.replays import Outlook, ReplayState
from channels_wechat.contract.explanations import Cause
from tests.admin.test_chinese import CHINESE, english_in, english_on, entered_texts
from tests.admin.test_matrix import BULK, TABLE, Stage, client_of, read, stage
from tests.support import factories

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["stage"]  # the fixture
# What the tests of rights enter in forms, and names of theirs.
ENTERED = [
    "I look at it", "Mine", "changed", "Goodbye", "Other", "Renamed", "Spare", "call them", "hello", "role-S", "renamed", "Li Si", "New",
    "new",
    "bye", "Fake", "Fake phone", "Phone", "a minute",
    # What Python, gRPC and a gateway say where nobody listens, in the words that follow a sentence of ours.
    "connection failed", "Connection refused", "ConnectionRefusedError", "Errno", "connect", "unreachable", "insecure",
    "failed to connect to all addresses; last error: UNKNOWN", "Failed to connect to remote host",
]  # fmt: skip
WRONG_SECRET = nest_cause(Cause("40001", {}), "wechat", "wecom_app")
STATES = {
    State.PENDING: ("", Reason.CONFIGURATION, Reason.TRIES_SPENT),
    State.DELIVERED: ("", Reason.PARTIAL),
    State.HELD: (Reason.PART_BEFORE, Reason.WINDOW, Reason.REVIEW, Reason.CHECKING, Reason.UNREAD),
    State.UNCERTAIN: (Reason.UNKNOWN,),
}


@pytest.fixture
def chinese(stage: Stage) -> Client:
    """Somebody who may do everything, with a browser that asks for Chinese."""
    AlertChannel.objects.update(language="zh-hans")
    client = client_of("S")
    client.defaults.update(CHINESE)
    return client


def known() -> list[str]:
    return sorted([*ENTERED, *entered_texts(), "admin", "staff"], key=len, reverse=True)


def test_no_english_on_any_page(chinese: Client, stage: Stage) -> None:
    entered, lines = known(), []
    for name in TABLE:
        answer, content = read(chinese.get(stage.path(name)))  # a file that is read to the end is closed
        if answer.status_code in (200, 404) and content:
            lines += english_in(answer, name, entered)
    assert not lines, "\n".join(lines)


def after(client: Client, stage: Stage, bodies: Callable[[str], dict[str, Any]]) -> list[str]:
    """A line for each button after which a page has English on it; what it did is undone."""
    entered, lines = known(), []
    session = client.cookies["sessionid"].value
    for name, page in TABLE.items():
        if not page.press:
            continue
        with transaction.atomic():
            client.cookies["sessionid"] = session  # a new password changes it
            answer: Any = client.post(stage.path(name), bodies(name), follow=True)
            assert answer.status_code in (200, 400), name
            lines += english_in(answer, name, entered)
            transaction.set_rollback(True)
    return lines


def test_no_english_after_any_button(chinese: Client, stage: Stage) -> None:
    lines = after(chinese, stage, stage.body)
    assert not lines, "\n".join(lines)


@pytest.mark.parametrize("value", ["", "x y\u0007"], ids=["nothing", "nonsense"])
def test_no_english_where_a_form_is_refused(chinese: Client, stage: Stage, value: str) -> None:
    lines = after(chinese, stage, lambda name: dict.fromkeys(stage.body(name), value))
    assert not lines, "\n".join(lines)


def test_no_english_where_many_rows_are_asked_about(chinese: Client, stage: Stage) -> None:
    entered, lines = known(), []
    for name, action, row, _who in BULK:
        chosen = {"action": action, "_selected_action": [stage.names[row]]}
        lines += english_in(chinese.post(stage.path(name), chosen), f"{name} {action}", entered)
    for verb in ("replay", "release", "dismiss"):
        body = {"verb": verb, "ids": stage.names["dead"]}
        lines += english_in(chinese.post(reverse("admin:bridge_delivery_confirm"), body), verb, entered)
    assert not lines, "\n".join(lines)


# --- rows of every kind


def pages_of(model: str, rows: Any) -> list[str]:
    return [reverse(f"admin:{model}_change", args=[row.pk]) for row in rows]


def test_no_english_on_incidents_of_any_cause(chinese: Client, world: factories.World) -> None:
    """In their list, on their pages and on the first page; with all that a sentence may name."""
    now = timezone.now().isoformat()
    params = {"name": "售后", "limit": "60 messages a minute", "reason": "permanent", "because": WRONG_SECRET}
    params |= dict.fromkeys(("first", "last", "stored", "since", "ends", "heard"), now)
    params |= dict.fromkeys(("count", "chats", "minutes", "percent", "failed", "most"), 7)
    made = [
        factories.incident(
            f"{code}:{world.app.pk}", code, code_params=params, account=world.app, conversation=world.person
        )
        for code in INCIDENTS
    ]
    lists = [reverse("admin:bridge_incident_changelist"), reverse("admin:bridge_incident_attention"), "/admin/"]
    lines = english_on(chinese, known(), pages_of("bridge_incident", made) + lists)
    assert not lines, "\n".join(lines)


def test_no_english_on_alert_channels_and_rules_of_any_kind(chinese: Client, world: factories.World) -> None:
    channels = [factories.alert_channel(kind, failures=3) for kind in ChannelKind.values]
    for kind in RuleKind.values:
        factories.alert_rule(kind)
    add = [f"{reverse(f'admin:bridge_{name}_add')}?kind={kind}" for name, kind in _kinds()]
    addresses = pages_of("bridge_alertchannel", channels) + pages_of("bridge_alertrule", AlertRule.objects.all()) + add
    lists = [reverse(f"admin:bridge_{name}_changelist") for name in ("alertchannel", "alertrule")]
    lines = english_on(chinese, known(), addresses + lists)
    assert not lines, "\n".join(lines)


def _kinds() -> list[tuple[str, str]]:
    channels = [("alertchannel", str(kind)) for kind in ChannelKind.values]
    return channels + [("alertrule", str(kind)) for kind in RuleKind.values]


def test_no_english_on_deliveries_in_any_state(chinese: Client, world: factories.World) -> None:
    states = [(state, reason) for state, reasons in STATES.items() for reason in reasons]
    states += [(State.DEAD, reason) for reason in Reason.values] + [(State.SKIPPED, reason) for reason in Reason.values]
    made = []
    for number, (state, reason) in enumerate(states):
        said = factories.message(world.group, "你好", f"K{number}", sender="zhangsan")
        made.append(factories.delivery(said, state, reason, code="987654" if number % 2 else "81013"))
    lines = english_on(chinese, known(), [*pages_of("bridge_delivery", made), reverse("unknown_codes")])
    assert not lines, "\n".join(lines)


def test_no_english_on_replays_in_any_state(chinese: Client, world: factories.World) -> None:
    at = world.dead.created_at.isoformat()
    groups = [
        {"planned": plan, "detail": "", "count": 2, "oldest": at, "newest": at, "example": world.dead.pk}
        for plan in Outlook.values
    ]
    over = {state: {"finished_at": timezone.now()} for state in (ReplayState.CANCELLED, ReplayState.FINISHED)}
    made = [
        factories.replay_run(world.dead, state, groups=groups, total=16, **over.get(state, {}))
        for state in ReplayState.values
    ]
    live = [reverse("admin:bridge_replayrun_live", args=[run.pk]) for run in made]
    add = [
        f"{reverse('admin:bridge_replayrun_add')}?state={state}" for state in ("dead", "skipped", "held", "uncertain")
    ]
    lines = english_on(chinese, known(), pages_of("bridge_replayrun", made) + live + add)
    assert not lines, "\n".join(lines)


def test_no_english_in_the_inbox_and_a_conversation_of_staff(chinese: Client, world: factories.World) -> None:
    now = timezone.now()
    waiting = {"mode": "human", "waiting_since": now, "waiting_count": 2, "staff_active_at": now}
    Conversation.objects.filter(pk=world.person.pk).update(**waiting)
    for kind in ConversationEntry.Kind.values:
        ConversationEntry.objects.create(conversation=world.person, kind=kind, by_name="安安", text="周一回电")
    conversations = reverse("admin:bridge_conversation_changelist")
    views = [f"{conversations}?view={view}" for view in ("mine", "unassigned", "waiting", "all")]
    pages = pages_of("bridge_conversation", Conversation.objects.all())
    transcripts = [reverse("admin:bridge_conversation_transcript", args=[world.person.pk])]
    lines = english_on(chinese, known(), views + pages + transcripts)
    assert not lines, "\n".join(lines)


def test_no_english_in_searches_filters_and_the_parts_of_the_dashboard(chinese: Client, world: factories.World) -> None:
    lists = [
        f"{reverse(f'admin:{name}')}?q={word}"
        for name in TABLE
        if name.endswith("_changelist")
        for word in ("zh", "无人")
    ]
    palette = [f"{reverse('palette')}?s={word}" for word in ("张", "admin", "21", "40001", "nothing-is-called-so")]
    parts = [reverse("dashboard_part", args=[part]) for part in ("numbers", "sides")]
    lines = english_on(chinese, known(), lists + palette + parts + [f"{reverse('reports')}?days=7"])
    assert not lines, "\n".join(lines)


# --- what is refused


def test_no_english_on_error_pages(chinese: Client, world: factories.World, settings: Any) -> None:
    entered = known()
    place = reverse("admin:bridge_conversation_mode", args=[world.person.pk])
    strict = Client(enforce_csrf_checks=True, **CHINESE)  # type: ignore[arg-type]
    strict.cookies = chinese.cookies
    answers: dict[str, Any] = {
        "400": chinese.post(place, {"mode": "dancing"}),
        "403": client_of("N").get(reverse("admin:bridge_message_changelist"), **CHINESE),
        "404": chinese.get("/admin/nothing/here/"),
        "403 csrf": strict.post(place, {"mode": "human"}),
        "500": answer_of(ValueError("a defect"), settings),
        "503": answer_of(OperationalError("no server"), settings),
    }
    assert {name for name, answer in answers.items() if str(answer.status_code) not in name} == set()
    lines = [line for name, answer in answers.items() for line in english_in(answer, name, entered)]
    assert not lines, "\n".join(lines)


def answer_of(error: Exception, settings: Any) -> Any:
    """What the bridge shows where a page raises this."""

    def fail(_request: Any) -> Any:
        raise error

    settings.ROOT_URLCONF = type("Urls", (), {"urlpatterns": [path("fail/", fail)], "handler500": urls.handler500})
    return Client(raise_request_exception=False, **CHINESE).get("/fail/")  # type: ignore[arg-type]
