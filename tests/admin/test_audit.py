"""Who changed what: noted once, with person and address, without secrets and without what people wrote."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
from auditlog.models import LogEntry
from django.contrib.auth.models import Group, User
from django.urls import reverse
from knox.models import AuthToken

from accounts.health import Health
from accounts.models import ChannelAccount
from bridge.models import Conversation, Delivery, Route
from bridge.operations import incidents
from bridge.people import peers
from bridge.pipeline.outbound import outbox
from bridge.security import audit
from channels_wechat.contract.messages import Content
from openclaw.models import Gateway
from tests.support import factories

if TYPE_CHECKING:
    from django.test import Client

    from tests.support.factories import World

FROM = {"REMOTE_ADDR": "203.0.113.7"}


def url(name: str, *args: Any) -> str:
    return reverse(f"admin:{name}", args=args)


def entries(row: Any) -> list[LogEntry]:
    return list(LogEntry.objects.get_for_object(row).order_by("id"))


def clear() -> None:
    LogEntry.objects.all().delete()


@pytest.fixture
def quiet(world: World) -> World:
    """The world, with nothing noted yet."""
    clear()
    return world


def test_a_change_is_noted_with_person_address_and_both_values(boss: Client, admin_user: User, quiet: World) -> None:
    page = url("bridge_conversation_rename", quiet.group.pk)
    boss.post(page, {"title": "Sales"}, **FROM)
    [entry] = entries(quiet.group)
    assert (entry.actor, entry.remote_addr, entry.action) == (admin_user, "203.0.113.7", LogEntry.Action.UPDATE)
    assert entry.changes_dict == {"title": ["市场部 · 周报讨论群", "Sales"]}


def test_who_is_not_a_trusted_proxy_cannot_choose_the_noted_address(boss: Client, quiet: World) -> None:
    boss.post(
        url("bridge_conversation_mode", quiet.group.pk), {"mode": "human"}, **FROM, HTTP_X_FORWARDED_FOR="9.9.9.9"
    )
    assert [entry.remote_addr for entry in entries(quiet.group)] == ["203.0.113.7"]


def test_of_secrets_only_the_change_is_noted(boss: Client, quiet: World) -> None:
    quiet.app.credentials = {**quiet.app.credentials, "secret": "CANARY-a-new-one"}
    quiet.app.save()
    quiet.gateway.token = "CANARY-another"
    quiet.gateway.save()
    hook = factories.endpoint("https://crm.example/CANARY", ["message.received"])
    user = User.objects.create_user("new", password="CANARY-password-1")
    user.set_password("CANARY-password-2")
    user.save()
    token, secret = AuthToken.objects.create(user)
    told = str(list(LogEntry.objects.values()))
    leaked = [each for each in ("CANARY", secret, hook.secret, user.password, user.password[-20:]) if each in told]
    assert leaked == []
    masked = {"credentials": [audit.MASK] * 2}
    assert entries(quiet.app)[0].changes_dict == masked
    assert entries(token)[0].action == LogEntry.Action.CREATE


def test_configuration_people_and_their_rights_are_noted(boss: Client, quiet: World) -> None:
    boss.post(url("bridge_route_change", quiet.route.pk), {**_route(quiet), "agent_id": "support"})
    assert entries(quiet.route)[0].changes_dict == {"agent_id": ["main", "support"]}
    user = User.objects.create_user("new")
    clear()
    user.groups.add(Group.objects.get(name="Operators"))
    group = Group.objects.get(name="Viewers")
    group.permissions.add(*Group.objects.get(name="Operators").permissions.filter(codename="read_content"))
    assert entries(user)[0].changes_dict["groups"]["objects"] == ["Operators"]
    assert "read what messages say" in str(entries(group)[0].changes_dict["permissions"]["objects"])
    Route.objects.get().delete()
    assert LogEntry.objects.latest("id").action == LogEntry.Action.DELETE


def _route(world: World) -> dict[str, Any]:
    return {
        "account": world.bot.pk, "peer_kind": "group", "peer_id": "wrGROUP", "gateway": world.gateway.pk,
        "scope": "conversation", "trigger": "all", "enabled": "on",
    }  # fmt: skip


def test_a_deed_that_changes_no_field_is_noted_once_for_all_its_rows(
    boss: Client, admin_user: User, quiet: World
) -> None:
    both = {"ids": f"{quiet.dead.pk},{quiet.uncertain.pk}", "sure": "1"}
    boss.post(url("bridge_delivery_confirm"), {**both, "verb": "dismiss"}, **FROM)
    boss.post(url("bridge_delivery_confirm"), {**both, "verb": "dismiss"}, **FROM)
    [entry] = LogEntry.objects.all()
    assert entry.additional_data == {"action": "dismissed", "rows": [quiet.dead.pk, quiet.uncertain.pk]}
    assert (entry.actor, entry.remote_addr, entry.object_repr) == (admin_user, "203.0.113.7", "2 deliveries")
    page = boss.get(url("auditlog_logentry_change", entry.pk)).content.decode()
    for row in (quiet.dead, quiet.uncertain):
        assert f'<a href="{url("bridge_delivery_change", row.pk)}">#{row.pk}</a>' in page
        found = boss.get(url("auditlog_logentry_changelist"), {"q": str(row.pk)}).context["cl"].result_list
        assert [each.pk for each in found] == [entry.pk]
    later = LogEntry(content_type=entry.content_type, object_pk="", action=entry.action, changes={})
    later.additional_data = {"action": "dismissed", "rows": [quiet.delivered.pk]}
    LogEntry.objects.bulk_create(copy.copy(later) for _number in range(300))
    found = boss.get(url("auditlog_logentry_changelist"), {"q": str(quiet.dead.pk)}).context["cl"].result_list
    assert [each.pk for each in found] == [entry.pk]
    boss.post(url("bridge_delivery_confirm"), {"ids": str(quiet.dead.pk), "sure": "1", "verb": "replay"})
    [alone] = entries(quiet.dead)
    assert (alone.additional_data, alone.object_repr) == ({"action": "replayed"}, f"#{quiet.dead.pk}")


def test_an_action_is_read_in_the_readers_language_whoever_did_it(boss: Client, admin_user: User, quiet: World) -> None:
    chinese, english = {"HTTP_ACCEPT_LANGUAGE": "zh-CN"}, {"HTTP_ACCEPT_LANGUAGE": "en"}
    both = {"ids": f"{quiet.dead.pk},{quiet.uncertain.pk}", "sure": "1", "verb": "dismiss"}
    boss.post(url("bridge_delivery_confirm"), both, **chinese)
    incidents.assign(quiet.incident, admin_user)
    boss.post(url("bridge_conversation_new_session", quiet.person.pk), **chinese)
    said = {
        "dismissed": "已忽略",
        "2 deliveries": "2 投递",
        "assigned to admin": "分配给 admin",
        "A new session has started": "新的智能体会话已开始",
    }
    shown = url("auditlog_logentry_changelist")  # in Chinese first, as it also shows what the buttons said
    pages = [boss.get(shown, **each).content.decode() for each in (chinese, english)][::-1]
    for words, chinese_words in said.items():
        assert words in pages[0], words
        assert (chinese_words in pages[0], chinese_words in pages[1]) == (False, True), words
    history = url("bridge_conversation_history", quiet.person.pk)
    assert "新的智能体会话已开始" in boss.get(history, **chinese).content.decode()
    assert "A new session has started" in boss.get(history, **english).content.decode()


def test_a_replay_of_many_by_script_is_one_line(boss: Client, quiet: World) -> None:
    more = [
        factories.delivery(factories.message(quiet.person, "x", f"O{n}", direction="out"), "dead", "permanent")
        for n in range(30)
    ]
    clear()
    body = {"filter": {"state": "dead", "account": quiet.app.pk}}
    answer = boss.post("/api/v1/deliveries/replay/", body, content_type="application/json")
    [entry] = LogEntry.objects.all()
    assert entry.additional_data["action"] == "replayed"
    assert len(entry.additional_data["rows"]) == answer.json()["count"] == len(more) + 1


def test_a_message_and_a_new_session_are_noted_without_the_text(boss: Client, quiet: World) -> None:
    ChannelAccount.objects.update(state=Health.OK)
    boss.post(url("bridge_conversation_send", quiet.person.pk), {"text": "CANARY text"})
    boss.post(url("bridge_conversation_new_session", quiet.person.pk))
    deeds = [entry.additional_data["action"] for entry in entries(quiet.person)]
    assert deeds == ["sent a message", "A new session has started: the agent remembers nothing of the messages before."]
    assert "CANARY" not in str(list(LogEntry.objects.values()))


def test_what_workers_find_out_is_not_noted(quiet: World) -> None:
    ChannelAccount.objects.get(pk=quiet.bot.pk).set_state(Health.FAILING, "", {"text": "slow"})
    Gateway.objects.get(pk=quiet.gateway.pk).set_state(Health.FAILING, "timeout", {"detail": "slow"})
    conversation = peers.get_conversation(quiet.app, "direct", "somebody-new")
    outbox.start_new_session(conversation)
    outbox.send(quiet.app, "direct", "somebody-new", Content(text="hello"), source="agent", client="")
    Delivery.objects.filter(pk=quiet.dead.pk).update(tries=3)
    assert Conversation.objects.filter(peer_id="somebody-new").exists()
    assert not LogEntry.objects.exists()


def test_a_page_that_is_only_read_notes_nothing_and_its_reader_is_not_remembered(boss: Client, quiet: World) -> None:
    boss.post(url("bridge_conversation_mode", quiet.group.pk), {"mode": "human"}, **FROM)
    boss.get(url("bridge_conversation_change", quiet.group.pk))
    clear()
    quiet.group.mode = "bot"
    quiet.group.save()
    audit.log_action("by nobody", [quiet.group])
    assert [entry.actor for entry in entries(quiet.group)] == [None, None]


def test_the_log_is_read_by_admins_found_by_person_and_number_and_written_by_nobody(boss: Client, quiet: World) -> None:
    boss.post(url("bridge_conversation_mode", quiet.group.pk), {"mode": "human"})
    boss.post(url("bridge_conversation_new_session", quiet.person.pk))
    page = url("auditlog_logentry_changelist")
    everything = boss.get(page).content.decode()
    assert "A new session" in everything
    assert "mode" in everything
    for term, found in (("admin", 2), (str(quiet.group.pk), 1), ("nobody", 0), ("9" * 30, 0)):
        assert len(boss.get(page, {"q": term}).context["cl"].result_list) == found, term
    [entry] = entries(quiet.group)
    detail = boss.get(url("auditlog_logentry_change", entry.pk)).content.decode()
    assert "<td>the agent answers</td><td>staff answer</td>" in detail
    assert boss.post(url("auditlog_logentry_delete", entry.pk), {"post": "yes"}).status_code == 403


def test_the_list_names_what_was_changed_as_its_form_does(boss: Client, quiet: World) -> None:
    quiet.gateway.max_in_flight, quiet.gateway.timeout_seconds = 3, 60
    quiet.gateway.save()
    page = boss.get(url("auditlog_logentry_changelist")).content.decode()
    assert "turns at a time, longest turn, seconds</td>" in page


def test_the_log_costs_few_queries_and_counts_nothing(
    boss: Client, quiet: World, django_assert_max_num_queries: Any
) -> None:
    for number in range(60):
        audit.log_action(f"deed {number}", [quiet.group])
    with django_assert_max_num_queries(12) as asked:
        assert boss.get(url("auditlog_logentry_changelist")).status_code == 200
    assert not [query for query in asked.captured_queries if "COUNT(*)" in query["sql"] and "auditlog" in query["sql"]]


def test_an_entry_whose_row_is_gone_is_still_shown(boss: Client, quiet: World) -> None:
    spare = factories.account(name="Spare", external_id="spare")
    spare.delete()
    entry = LogEntry.objects.filter(action=LogEntry.Action.DELETE).get()
    assert "Spare" in boss.get(url("auditlog_logentry_change", entry.pk)).content.decode()
