"""Replay, dismiss, recall; the dead letters; search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.messages import get_messages
from django.urls import reverse
from django.utils import timezone

from bridge.admin.base import local_path
from bridge.models import Delivery, Reason, ReplayRun, State
from openclaw.models import Gateway
from tests.support import factories

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.test import Client


def url(name: str, *args: Any) -> str:
    return reverse(f"admin:bridge_delivery_{name}", args=args)


def states(*deliveries: Delivery) -> list[str]:
    return [Delivery.objects.get(pk=each.pk).state for each in deliveries]


def test_replaying_several_leads_into_a_plan(boss: Client, world: factories.World) -> None:
    chosen = [world.dead.pk, world.uncertain.pk, world.delivered.pk]
    answer = boss.post(url("changelist"), {"action": "replay_selected", "_selected_action": chosen})
    run = ReplayRun.objects.get(kind="again")
    assert answer.headers["Location"] == reverse("admin:bridge_replayrun_change", args=[run.pk])
    assert {item.delivery_id: item.planned for item in run.items.all()} == {
        world.dead.pk: "go", world.uncertain.pk: "unknown", world.delivered.pk: "cannot",
    }  # fmt: skip
    assert states(world.dead, world.uncertain, world.delivered) == ["dead", "uncertain", "delivered"]


def test_replaying_one_asks_first(boss: Client, world: factories.World) -> None:
    answer = boss.post(url("changelist"), {"action": "replay_selected", "_selected_action": [world.uncertain.pk]})
    assert "may then see it twice" in answer.content.decode()


def test_replay_does_it_when_sure(boss: Client, world: factories.World) -> None:
    ids = f"{world.dead.pk},{world.delivered.pk}"
    form = {"verb": "replay", "ids": ids, "sure": "1", "back": url("dead_letters")}
    response = boss.post(url("confirm"), form)
    assert response.headers["Location"] == url("dead_letters")
    assert states(world.dead, world.uncertain, world.delivered) == ["pending", "uncertain", "delivered"]
    said = [str(message) for message in get_messages(response.wsgi_request)]
    assert said[0] == "1 delivery is queued again."
    assert said[1].startswith(f"#{world.delivered.pk}: ")


def test_what_may_have_arrived_is_sent_again_only_where_it_is_chosen(boss: Client, world: factories.World) -> None:
    form = {"verb": "replay", "ids": f"{world.dead.pk},{world.uncertain.pk}", "sure": "1"}
    said = [str(message) for message in get_messages(boss.post(url("confirm"), form).wsgi_request)]
    assert "It may have arrived already" in said[1]
    assert states(world.dead, world.uncertain) == ["pending", "uncertain"]
    boss.post(url("confirm"), {**form, "twice": "1"})
    assert states(world.uncertain) == ["pending"]
    assert "possibly twice" in boss.get(url("change", world.uncertain.pk)).content.decode()
    assert "possibly twice" in boss.get(url("changelist")).content.decode()


def test_a_single_one_is_asked_for_with_the_warning_and_marked(boss: Client, world: factories.World) -> None:
    page = boss.post(url("confirm"), {"verb": "replay", "ids": str(world.uncertain.pk)}).content.decode()
    assert "people may then see it twice" in page
    assert '<input type="hidden" name="twice" value="1">' in page


def test_a_delivery_that_cannot_be_replayed_says_why(boss: Client, world: factories.World) -> None:
    event = factories.message(world.group, "enter_chat", "EV", kind="event")
    skipped = factories.delivery(event, State.SKIPPED, Reason.EVENT)
    page = boss.get(url("change", skipped.pk)).content.decode()
    assert "It cannot be replayed:" in page
    assert "Replay…" not in page


def test_dismiss_takes_it_off_the_dead_letters(boss: Client, world: factories.World, admin_user: Any) -> None:
    form = {"verb": "dismiss", "ids": str(world.dead.pk)}
    assert "1 delivery will be dismissed" in boss.post(url("confirm"), form).content.decode()
    assert boss.get(url("dead_letters")).context["cl"].result_count == 3
    boss.post(url("confirm"), {**form, "sure": "1"})
    world.dead.refresh_from_db()
    assert (world.dead.dismissed_by, world.dead.state) == (admin_user, "dead")
    assert boss.get(url("dead_letters")).context["cl"].result_count == 2


def test_dead_letters_are_grouped_by_cause(boss: Client, world: factories.World) -> None:
    causes = boss.get(url("dead_letters")).context["causes"]
    found = {
        cause["query"]: (cause["count"], [(item["code"], item["count"]) for item in cause["codes"]]) for cause in causes
    }
    assert found == {
        "?state__exact=dead&reason__exact=permanent": (2, [("81013", 1), ("http_404", 1)]),
        "?state__exact=uncertain&reason__exact=unknown": (1, [("timeout", 1)]),
    }


def test_dead_letters_can_be_replayed_all_at_once(boss: Client, world: factories.World) -> None:
    form = {"action": "replay_selected", "_selected_action": [world.dead.pk], "select_across": "1"}
    boss.post(url("dead_letters"), form)
    assert ReplayRun.objects.get(kind="again").total == 3


def test_the_menu_counts_the_dead_letters(boss: Client, world: factories.World) -> None:
    entries = [
        item
        for group in boss.get("/admin/").context["sidebar_navigation"]
        for item in group["items"]
        if "badge" in item
    ]
    assert [(item["title"], item["badge"]) for item in entries] == [
        ("Dead letters", "3"),
        ("Invitations and requests", "1"),
    ]


@pytest.mark.parametrize("verb", ["replay", "dismiss"])
def test_the_right_is_needed(staff: Callable[..., Client], world: factories.World, verb: str) -> None:
    client = staff("bridge.view_delivery", "bridge.view_message")
    form = {"verb": verb, "ids": str(world.dead.pk), "sure": "1"}
    assert client.post(url("confirm"), form).status_code == 403
    chosen = {"action": f"{verb}_selected", "_selected_action": [world.dead.pk]}
    client.post(url("changelist"), chosen)
    world.dead.refresh_from_db()
    assert (world.dead.state, world.dead.dismissed_at) == ("dead", None)


def test_an_unknown_verb_and_a_foreign_address_are_refused(boss: Client, world: factories.World) -> None:
    assert boss.post(url("confirm"), {"verb": "burn", "ids": "1"}).status_code == 400
    assert boss.get(url("confirm")).status_code == 405
    form = {"verb": "dismiss", "ids": str(world.dead.pk), "sure": "1", "back": "https://evil.example/admin/"}
    assert boss.post(url("confirm"), form).headers["Location"] == url("changelist")


@pytest.mark.parametrize(
    "address",
    [
        "",
        "/api/v1/",
        "https://evil.example/admin/",
        "//evil.example/admin/",
        "/admin/\\evil.example",
        "/admin/bridge/delivery/confirm/",  # takes no GET
    ],
)
def test_what_is_no_page_to_go_back_to_is_not_followed(address: str) -> None:
    assert local_path(address, "the list") == "the list"


def test_recall_that_is_not_possible_says_why(boss: Client, world: factories.World) -> None:
    response = boss.post(url("recall", world.dead.pk))
    assert "Only a delivered message" in str(next(iter(get_messages(response.wsgi_request))))


def test_facts_are_not_written_here(boss: Client, world: factories.World) -> None:
    boss.post(url("change", world.dead.pk), {"state": "delivered"})
    assert states(world.dead) == ["dead"]
    for name in ("bridge_delivery", "bridge_message", "bridge_incident"):
        assert boss.get(reverse(f"admin:{name}_add")).status_code == 403
        pk = {"bridge_delivery": world.dead.pk, "bridge_message": world.answer.pk}.get(name, world.incident.pk)
        assert boss.post(reverse(f"admin:{name}_delete", args=[pk]), {"post": "yes"}).status_code == 403
    assert Delivery.objects.filter(pk=world.dead.pk).exists()


def test_what_waits_for_a_stopped_account_or_gateway_says_so(boss: Client, world: factories.World) -> None:
    waiting = factories.delivery(
        factories.message(world.person, "x", "W1", direction="out", source="staff"), State.PENDING
    )
    page = boss.get(url("change", waiting.pk)).content.decode()
    assert "The account Acme app is stopped:" in page
    assert "WeCom refuses the secret" in page
    Gateway.objects.update(enabled=False)
    asked = Delivery.objects.get(state="pending", target="agent")
    assert "The gateway OpenClaw at home is disabled." in boss.get(url("change", asked.pk)).content.decode()


def test_a_webhook_delivery_has_pages_too_and_hides_the_key(boss: Client) -> None:
    address = "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=CANARY-robot-key"
    hook = Delivery.objects.create(
        target="webhook", lane="hook:alert", state="dead", reason="permanent", finished_at=timezone.now(),
        payload={"url": address, "body": {"msgtype": "text"}},
    )  # fmt: skip
    pages = [boss.get(url("change", hook.pk)), boss.get(url("changelist")), boss.get(url("dead_letters"))]
    pages.append(boss.post(url("confirm"), {"verb": "replay", "ids": str(hook.pk)}))
    assert [page.status_code for page in pages] == [200] * 4
    assert not [page for page in pages if "CANARY" in page.content.decode()]


def test_a_list_goes_on_without_counting(boss: Client, world: factories.World) -> None:
    for number in range(120):
        factories.delivery(factories.message(world.group, f"n {number}", f"N{number}"), "delivered")
    total = Delivery.objects.count()
    sizes = [len(boss.get(url("changelist"), {"p": page}).context["cl"].result_list) for page in (1, 2, 3)]
    assert sizes == [50, 50, total - 100]
    assert "Older" not in boss.get(url("changelist"), {"p": 3}).content.decode()


@pytest.mark.parametrize(
    ("term", "keys"),
    [
        ("本周新增", ["ANSWER1"]),
        ("zhangsan", ["MSG3", "EVENT2", "EVENT1", "MSG1", "OUT2", "OUT1"]),
        ("张三", ["MSG3", "EVENT2", "EVENT1", "MSG1"]),
        ("lisi", ["MSG2"]),
        ("REMOTE1", ["ANSWER1"]),
        ("MSG1", ["MSG1"]),
        ("nothing like it", []),
    ],
)
def test_messages_are_found_by_text_person_and_platform_id(
    boss: Client, world: factories.World, term: str, keys: list[str]
) -> None:
    found = boss.get(reverse("admin:bridge_message_changelist"), {"q": term}).context["cl"].result_list
    assert sorted(message.idempotency_key for message in found) == sorted(keys)


@pytest.mark.parametrize(("day", "count"), [("today", 8), ("yesterday", 0), ("week", 8), ("never", 0)])
def test_messages_are_filtered_by_day(boss: Client, world: factories.World, day: str, count: int) -> None:
    found = boss.get(reverse("admin:bridge_message_changelist"), {"day": day}).context["cl"].result_list
    assert len(found) == count


def test_the_dead_letters_are_searched_by_what_their_message_says(boss: Client, world: factories.World) -> None:
    def found(term: str) -> list[int]:
        return [row.pk for row in boss.get(url("dead_letters"), {"q": term}).context["cl"].result_list]

    assert found("您的报表") == found("报表") == [world.dead.pk]
    assert found("本周新增用户") == []  # said, and delivered


def test_the_page_says_what_a_turn_took(boss: Client, world: factories.World) -> None:
    taken = {"model": "openai/gpt", "input": 600, "output": 5, "cache_read": 400, "cache_write": 0, "cost": 0.0123}
    factories.attempt(world.delivered, 9, "ok", usage=taken)
    page = boss.get(url("change", world.delivered.pk)).content.decode()
    assert "openai/gpt: 1000 tokens in (400 from its cache), 5 out · $0.0123" in page


def test_a_number_and_an_error_code_are_found(boss: Client, world: factories.World) -> None:
    code = world.dead.attempts.exclude(code="").first().code
    for term in (f"#{world.dead.pk}", str(world.dead.pk), f"#{world.dead.message_id}", code):
        found = [row.pk for row in boss.get(url("changelist"), {"q": term}).context["cl"].result_list]
        assert world.dead.pk in found, term


def test_a_delivery_counts_once_however_often_it_was_tried(boss: Client, world: factories.World) -> None:
    factories.attempt(world.uncertain, 2, "error", code="45015")
    factories.attempt(world.uncertain, 3, "error", code="45015")
    Delivery.objects.filter(pk=world.uncertain.pk).update(code="45015")
    causes = boss.get(url("dead_letters")).context["causes"]
    for cause in causes:
        assert sum(item["count"] for item in cause["codes"]) <= cause["count"]
    uncertain = next(cause for cause in causes if "uncertain" in cause["query"])
    assert [(item["code"], item["count"]) for item in uncertain["codes"]] == [("45015", 1)]


def test_a_code_leads_to_the_deliveries_that_have_it(boss: Client, world: factories.World) -> None:
    page = boss.get(url("dead_letters"))
    link = next(i["query"] for cause in page.context["causes"] for i in cause["codes"] if i["code"] == "81013")
    assert link == "?state__exact=dead&reason__exact=permanent&code=81013"
    assert f'href="{link.replace("&", "&amp;")}"' in page.content.decode()
    assert [row.pk for row in boss.get(url("dead_letters") + link).context["cl"].result_list] == [world.dead.pk]
    nothing = boss.get(url("dead_letters") + "?code=nonsense").context["cl"].result_list
    assert list(nothing) == []


def offered(client: Client, query: str = "") -> dict[str, list[str]]:
    """Filter of the dead letters → what it offers besides everything."""
    specs = client.get(url("dead_letters") + query).context["cl"].filter_specs
    changelist = client.get(url("dead_letters") + query).context["cl"]
    return {str(spec.title): [str(choice["display"]) for choice in spec.choices(changelist)][1:] for spec in specs}


def test_the_dead_letters_are_filtered_only_by_what_there_can_be(boss: Client, world: factories.World) -> None:
    found = offered(boss)
    assert sorted(found["state"]) == found["state"] == ["failed", "uncertain"]
    assert found["reason"] == sorted(str(Reason(reason).label) for reason in ("permanent", "unknown"))
    chosen = offered(boss, "?reason__exact=too_old")
    assert str(Reason.TOO_OLD.label) in chosen["reason"]
    world.dead.delete()
    Delivery.objects.filter(state="dead").update(dismissed_at=timezone.now())
    assert offered(boss)["reason"] == [str(Reason.UNKNOWN.label)]
    everywhere = boss.get(url("changelist")).context["cl"]
    states = next(spec for spec in everywhere.filter_specs if str(spec.title) == "state")
    assert len(list(states.choices(everywhere))) == 1 + len(State)


def test_the_button_of_a_bulk_replay_stands_above_its_rows(boss: Client, world: factories.World) -> None:
    ids = f"{world.dead.pk},{world.uncertain.pk}"
    page = boss.post(url("confirm"), {"verb": "replay", "ids": ids}).content.decode()
    assert page.index('name="sure"') < page.index(f">#{world.dead.pk}</a>")
    assert page.count('name="sure"') == 1


def test_after_a_bulk_replay_a_page_says_how_many_went(boss: Client, world: factories.World) -> None:
    form = {"verb": "replay", "ids": f"{world.dead.pk},{world.uncertain.pk}", "sure": "1", "twice": "1"}
    done = boss.post(url("confirm"), {**form, "back": url("dead_letters")})
    assert done.headers["Location"] == url("replayed")
    page = boss.get(url("replayed"))
    assert (page.context["went"], page.context["total"], page.context["back"]) == (0, 2, url("dead_letters"))
    assert page.headers["Refresh"] == "3"
    Delivery.objects.filter(pk=world.dead.pk).update(state=State.DELIVERED, finished_at=timezone.now())
    Delivery.objects.filter(pk=world.uncertain.pk).update(
        state=State.DEAD, reason=Reason.PERMANENT, code_params={"text": "refused again"}, finished_at=timezone.now()
    )
    page = boss.get(url("replayed"))
    text = page.content.decode()
    assert "1 of 2 delivered" in text
    assert "refused again" in text
    assert "Refresh" not in page.headers


def test_the_report_is_for_who_may_replay(staff: Callable[..., Client], world: factories.World) -> None:
    assert staff("bridge.view_delivery").get(url("replayed")).status_code == 403


def test_after_a_replay_the_page_of_the_delivery_stays_current(boss: Client, world: factories.World) -> None:
    page = url("change", world.dead.pk)
    assert "Refresh" not in boss.get(page).headers
    boss.post(url("confirm"), {"verb": "replay", "ids": str(world.dead.pk), "sure": "1", "back": page})
    assert boss.get(page).headers["Refresh"] == "3"
    Delivery.objects.filter(pk=world.dead.pk).update(state=State.DELIVERED, finished_at=timezone.now())
    assert "Refresh" not in boss.get(page).headers
