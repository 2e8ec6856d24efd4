"""Whatever people do and whatever is said to them: the platform never has to refuse a message, and nothing waits while it could go.

The simulator keeps windows by code of its own; here it is asked after each step how many it would still take.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, note, seed, settings
from hypothesis import strategies as st

from accounts import reply_windows
from bridge.models import Delivery, Message, Reason, State
from bridge.pipeline.inbound import router
from bridge.pipeline.outbound import outbox
from channels_wechat.contract.messages import Content
from tests.support.factories import MINI, OFFICIAL, mini, official, work_off
from tests.support.followers import Crowd, crowd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import redis
    from django.db.models import QuerySet

    from accounts.models import ChannelAccount

HOUR = 3600
# Sums of these stay seconds away from a minute and from 48 hours: at the border the ledger ends a little early, on purpose.
PAUSES = st.sampled_from([20, 61, 2 * HOUR, 47 * HOUR, 49 * HOUR])
DEEDS = st.sampled_from(["message", "message", "click", "scan"])
# Bytes of each paragraph of a reply: WeChat takes 2000 in a message.
PARAGRAPHS = st.lists(st.sampled_from([10, 300, 900, 1500, 1990]), min_size=1, max_size=12)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("deed"), DEEDS),
        st.tuples(st.just("unrouted"), DEEDS),
        st.tuples(st.just("pause"), PAUSES),
        st.tuples(st.just("answer"), PARAGRAPHS),
        st.tuples(st.just("messages"), PARAGRAPHS),
    ),
    min_size=1,
    max_size=12,
)

EXAMPLES = 12


class Person:
    """One person of an account, and all that was said to them, in order."""

    def __init__(self, people: Crowd, account: ChannelAccount, number: int) -> None:
        self.people, self.account, self.openid = people, account, f"oPerson-{number}"
        self.official = account.kind == "official_account"
        self.where: dict[str, Any] = {"official": OFFICIAL} if self.official else {"mini": MINI}
        people.client.person(account.external_id, "小红", self.openid)
        self.said: list[str] = []
        self.unrouted = 0

    def do(self, step: str, what: Any) -> None:
        if step in ("deed", "unrouted"):
            self.deed(what)
            self.unrouted += 1
            if step == "deed":
                self.route()
        elif step == "pause":
            self.people.later(what)
        else:
            self.reply(what, whole=step == "answer")
        work_off()

    def deed(self, what: str) -> None:
        """A second after whatever was last: the platform tells of an event by its second alone."""
        self.people.later(1)
        client = self.people.client
        deeds: dict[str, Callable[[], object]] = {
            "message": lambda: client.say("在吗", from_=self.openid, **self.where),
            "click": lambda: client.click_menu(OFFICIAL, self.openid, "K"),
            "scan": lambda: client.scan(OFFICIAL, self.openid, "7"),
            "session": lambda: client.enter_session(MINI, self.openid),
        }
        if not self.official and what != "message":
            what = "session"
        deeds[what]()
        self.people.heard(self.account)

    def route(self) -> None:
        while router.route_waiting():
            pass
        self.unrouted = 0

    def reply(self, sizes: list[int], *, whole: bool) -> None:
        """whole: as one text, which is cut into parts, or each paragraph as a message of its own."""
        paragraphs = [f"{len(self.said) + n:04}" + "字" * ((size - 4) // 3) for n, size in enumerate(sizes)]
        self.said += paragraphs
        for text in ["\n\n".join(paragraphs)] if whole else paragraphs:
            outbox.send(self.account, "direct", self.openid, Content(text, ai=whole), source=Message.Source.STAFF)

    # --- what must be true after each step

    def check(self) -> None:
        assert not {"message/custom/send 45015", "message/custom/send 45047"} & set(self.people.refusals())
        shown, said = self._words(self.people.shown(self.openid)), self._words(self.said)
        assert said.startswith(shown)
        held = held_for(self.openid).count()
        assert held or shown == said
        assert not Delivery.objects.filter(message__peer_id=self.openid, state__in=(State.PENDING, State.DEAD)).exists()
        if not self.unrouted:
            left = self.people.client.standing(self.openid)["left"]
            assert reply_windows.count_remaining(self.account.pk, self.openid) == left
            assert not (held and left)

    @staticmethod
    def _words(texts: list[str]) -> str:
        """Blank lines between paragraphs may be cut or added."""
        return "".join("".join(texts).split())


@pytest.fixture
def people(valkey: redis.Redis) -> Iterator[Crowd]:
    with crowd() as found:
        yield found


def obeys(people: Crowd, account: ChannelAccount, steps: list[tuple[str, Any]], number: int) -> None:
    person = Person(people, account, number)
    note(f"{steps}")
    for step, what in steps:
        person.do(step, what)
        person.check()
    person.route()
    work_off()
    person.check()
    for _word in range(100):
        if not held_for(person.openid).exists():
            break
        person.do("deed", "message")
        person.check()
    assert person._words(people.shown(person.openid)) == person._words(person.said)  # all of it arrived, in order, once


def holds_for(kind: Callable[[str], ChannelAccount], people: Crowd, number: int | None = None) -> None:
    """For so many sequences. More of them in one transaction would mostly measure how PostgreSQL walks past dead rows."""
    account = kind(people.client.url)
    count = iter(range(1_000_000))

    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(STEPS)
    def run(steps: list[tuple[str, Any]]) -> None:
        obeys(people, account, steps, next(count))

    (run if number is None else seed(number)(run))()


@pytest.mark.django_db
@pytest.mark.parametrize("kind", [official, mini], ids=["official_account", "mini_program"])
def test_the_platform_never_refuses_and_nothing_waits_in_vain(people: Crowd, kind: Any) -> None:
    holds_for(kind, people)


@pytest.mark.heavy
@pytest.mark.django_db
@pytest.mark.parametrize("number", range(10))
@pytest.mark.parametrize("kind", [official, mini], ids=["official_account", "mini_program"])
def test_the_same_for_many_sequences(people: Crowd, kind: Any, number: int) -> None:
    holds_for(kind, people, number)


def held_for(openid: str) -> QuerySet[Delivery]:
    return Delivery.objects.filter(state="held", reason=Reason.WINDOW, message__peer_id=openid)
