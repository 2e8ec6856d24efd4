"""Who talks to which agent."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.postgres.indexes import GinIndex, OpClass
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models.functions import Upper
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop

from accounts.models import ChannelAccount
from accounts.person_ids import person_id
from bridge.models.pairs import CharacterPairs
from channels_wechat import KINDS, channel_class
from channels_wechat.contract.pasted import NOTHING_SEEN, without_invisible
from openclaw.models import Gateway

# How the pseudonym of an erased person begins; the number of their contact's row follows.
ERASED = "erased-"
# Fields of a mapping that hold one entry a line.
OF_LINES = ("trigger_words", "handover_words", "allowed_senders")
# Fields whose lines are what people type: a word keeps its joiners.
OF_WORDS = ("trigger_words", "handover_words")


class PeerKinds(models.TextChoices):
    DIRECT = "direct", _("person")
    GROUP = "group", _("group")


class Route(models.Model):
    """A mapping: messages of this peer go to this agent. The most specific one wins; there is no silent default."""

    class Scope(models.TextChoices):
        CONVERSATION = "conversation", _("one memory for the whole conversation")
        SENDER = "sender", _("one memory for each person in it")
        SHARED = "shared", _("one memory for everything mapped to this agent")

    class Trigger(models.TextChoices):
        ALL = "all", _("every message")
        MENTION = "mention", _("when the bot is addressed")
        PREFIX = "prefix", _("when the text begins with a word")
        KEYWORD = "keyword", _("when the text contains a word")

    BY_WORD = (Trigger.PREFIX, Trigger.KEYWORD)

    account = models.ForeignKey(
        ChannelAccount, on_delete=models.CASCADE, related_name="routes", verbose_name=_("account")
    )
    peer_kind = models.CharField(
        _("who"), max_length=8, blank=True, choices=[("", _("groups and persons")), *PeerKinds.choices], default=""
    )
    peer_id = models.CharField(
        _("group or person"), max_length=200, blank=True, help_text=_("The platform's id. Empty: all of this kind.")
    )
    gateway = models.ForeignKey(Gateway, on_delete=models.PROTECT, related_name="routes", verbose_name=_("gateway"))
    agent_id = models.CharField(_("agent"), max_length=64)
    scope = models.CharField(_("memory"), max_length=16, choices=Scope.choices, default=Scope.CONVERSATION)
    trigger = models.CharField(_("answers"), max_length=16, choices=Trigger.choices, default=Trigger.ALL)
    trigger_words = models.TextField(
        _("words"),
        blank=True,
        help_text=_("One per line. A trigger word at the beginning of a text is removed from it."),
    )
    allowed_senders = models.TextField(
        _("allowed senders"), blank=True, help_text=_("User ids, one a line. Empty: everyone.")
    )
    commands_for_all = models.BooleanField(
        _("commands apply to everybody"),
        default=False,
        help_text=_(
            "/stop stops anybody's turn in the group, and /new clears a memory that several conversations share. "
            "Otherwise /stop stops only one's own turn, and a shared memory stays."
        ),
    )
    allow_mention_all = models.BooleanField(
        _("may mention everybody"), default=False, help_text=_("The agent's @all calls the whole group.")
    )
    allow_cards = models.BooleanField(
        _("may send cards"),
        default=False,
        help_text=_("A template_card block in the agent's answer becomes a card with buttons."),
    )
    allow_links = models.BooleanField(
        _("may show links as text"),
        default=False,
        help_text=_("Otherwise a link is shown as its text and its full address."),
    )
    handover_words = models.TextField(
        _("words that call for staff"),
        blank=True,
        default="",
        db_default="",
        help_text=_("One per line, such as 转人工. A message that says just this hands the conversation to staff."),
    )
    allow_handover = models.BooleanField(
        _("may hand over to staff"),
        default=False,
        db_default=False,
        help_text=_("The line [[handover: why]] in the agent's answer hands the conversation to staff."),
    )
    enabled = models.BooleanField(_("enabled"), default=True)
    note = models.CharField(_("note"), max_length=200, blank=True)

    class Meta:
        verbose_name, verbose_name_plural = _("mapping"), _("mappings")
        ordering = ["account", "peer_kind", "peer_id"]
        constraints = [
            models.UniqueConstraint(
                fields=["account", "peer_kind", "peer_id"],
                name="route_one_per_peer",
                violation_error_message=_("This group or person is mapped already."),
            ),
            models.CheckConstraint(
                condition=models.Q(peer_id="") | ~models.Q(peer_kind=""),
                name="route_peer_id_needs_kind",
                violation_error_message=_("Say whether the id is a group's or a person's."),
            ),
        ]

    title = ""  # what staff call its group, where a page has looked that up

    def __str__(self) -> str:
        return f"{self.title or self.peer_id or self.get_peer_kind_display()} → {self.agent_id}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        self._unify_peer_id()
        super().save(*args, **kwargs)

    def clean(self) -> None:
        """What would never apply is refused. Raises ValidationError by field."""
        wrong = self._clean_texts()
        self._unify_peer_id()
        if self.account_id and (deaf := why_not_mappable(self.account, self.peer_kind)):
            wrong["peer_kind"] = deaf
        if self.trigger in self.BY_WORD and not self.trigger_words.strip():
            wrong["trigger_words"] = _now("Enter at least one word for this trigger.")
        if wrong:
            raise ValidationError(wrong)

    def _clean_texts(self) -> dict[str, Any]:
        """Ids without what nobody sees; what is wrong, by field. An id or a list that became empty would mean everybody."""
        wrong: dict[str, Any] = {}
        for name in ("peer_id", "agent_id", "allowed_senders", *OF_WORDS):
            given: str = getattr(self, name)
            lines = given.splitlines() if name in OF_LINES else [given]
            seen = [line if name in OF_WORDS else without_invisible(line) for line in lines if without_invisible(line)]
            setattr(self, name, "\n".join(seen))
            if given.strip() and not seen:
                wrong[name] = NOTHING_SEEN
            elif name not in OF_WORDS and not all(map(str.isprintable, seen)):
                wrong[name] = _now("There is an invisible character in it: copy it again.")
        return wrong

    def _unify_peer_id(self) -> None:
        """As messages name a person: without what nobody sees; where case does not count, in lower case."""
        self.peer_id = without_invisible(self.peer_id)
        if self.account_id:
            self.peer_id = person_id(self.account, self.peer_kind, self.peer_id)


def why_not_mappable(account: ChannelAccount, peer_kind: str) -> str:
    """Return why a mapping of this peer kind would never apply; empty where it can."""
    if account.kind not in KINDS:
        return ""
    peer_kinds = channel_class(account.kind, account.credentials).receives_from
    if peer_kind in peer_kinds or (peer_kinds and not peer_kind):
        return ""
    names = ", ".join(str(PeerKinds(kind).label) for kind in sorted(peer_kinds))
    return _now(
        "%(kind)s receives no such messages, so the mapping would never apply. It receives messages from: %(heard)s."
    ) % {
        "kind": account.get_kind_display(),
        "heard": names or _now("nothing"),
    }


class Conversation(models.Model):
    """One group or person at one account."""

    class Mode(models.TextChoices):
        BOT = "bot", _("the agent answers")
        PAUSED = "paused", _("paused: new messages are stored but not answered")
        HUMAN = "human", _("staff answer")

    account = models.ForeignKey(
        ChannelAccount, on_delete=models.CASCADE, related_name="conversations", verbose_name=_("account")
    )
    peer_kind = models.CharField(_("kind"), max_length=8, choices=PeerKinds.choices)
    peer_id = models.CharField(_("id on the platform"), max_length=200)
    title = models.CharField(_("title"), max_length=200, blank=True)
    # The title as the platform told it last. While it tells no other one, a title that staff entered stays.
    told_title = models.CharField(max_length=200, blank=True, default="", db_default="", editable=False)
    mode = models.CharField(_("mode"), max_length=8, choices=Mode.choices, default=Mode.BOT)
    # Who answers it in the platform's own client: then the mode is `human`.
    servicer = models.CharField(_("servicer"), max_length=200, blank=True, default="", db_default="", editable=False)
    # The colleague who answers it; null while it waits for one, and while the agent answers.
    assignee = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        related_name="+",
        verbose_name=_("assigned to"),
        editable=False,
        db_index=False,
    )
    # Questions that no agent was asked and that nobody has answered since: the time of the oldest, and how many.
    waiting_since = models.DateTimeField(_("waiting since"), null=True, editable=False)
    waiting_count = models.PositiveIntegerField(_("unanswered"), default=0, db_default=0, editable=False)
    # When staff took it over or wrote last: after `ChannelAccount.staff_minutes` the agent answers again.
    staff_active_at = models.DateTimeField(null=True, editable=False)
    # Part of the session key: counting it up starts a new session with the agent.
    session_epoch = models.PositiveIntegerField(_("session"), default=0)
    last_inbound_at = models.DateTimeField(_("last message"), null=True, editable=False)
    # The group goes on at another account, in this conversation.
    moved_to = models.ForeignKey(
        "self",
        on_delete=models.SET_NULL,
        null=True,
        related_name="moved_from",
        verbose_name=_("moved to"),
        editable=False,
    )
    moved_at = models.DateTimeField(_("moved"), null=True, editable=False)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    class Meta:
        verbose_name, verbose_name_plural = _("conversation"), _("conversations")
        ordering = [models.F("last_inbound_at").desc(nulls_last=True), "-id"]
        permissions = [
            ("pause_conversation", gettext_noop("Can pause a conversation, take it over and begin a new session"))
        ]
        constraints = [models.UniqueConstraint(fields=["account", "peer_kind", "peer_id"], name="conversation_peer")]
        indexes = [
            # The list of conversations, latest first.
            models.Index(
                models.F("last_inbound_at").desc(nulls_last=True), models.F("id").desc(), name="conversation_newest"
            ),
            # The inbox: mine, and what nobody has taken.
            models.Index(
                models.F("assignee"),
                models.F("last_inbound_at").desc(nulls_last=True),
                models.F("id").desc(),
                condition=~models.Q(mode="bot"),
                name="conversation_staffed",
            ),
            # The inbox: what waits for staff, and how many in the menu.
            models.Index(
                models.F("last_inbound_at").desc(nulls_last=True),
                models.F("id").desc(),
                condition=models.Q(waiting_since__isnull=False) & ~models.Q(mode="bot"),
                name="conversation_waiting",
            ),
            # The inbox: questions that no agent was asked, because there is no mapping.
            models.Index(
                models.F("last_inbound_at").desc(nulls_last=True),
                models.F("id").desc(),
                condition=models.Q(waiting_since__isnull=False, mode="bot"),
                name="conversation_unasked",
            ),
            # search.messages: whose messages are meant by a platform's id.
            models.Index(fields=["peer_id"], name="conversation_peer_id"),
            # problems.sql, unanswered_sql: chats that an agent does not answer.
            models.Index(fields=["account"], condition=~models.Q(mode="bot"), name="conversation_without_agent"),
            # search.conversations: words of the title, a part of the id.
            GinIndex(
                OpClass(Upper("title"), name="gin_trgm_ops"),
                OpClass(Upper("peer_id"), name="gin_trgm_ops"),
                name="conversation_words",
            ),
            # search.conversations: two Chinese characters of the title.
            GinIndex(CharacterPairs("title"), name="conversation_pairs"),
        ]

    def __str__(self) -> str:
        return self.title or self.peer_id

    @property
    def erased(self) -> bool:
        """Its person's data was erased; nobody is left to talk to."""
        return self.peer_id.startswith(ERASED)


class SessionEpoch(models.Model):
    """How often a session with an agent was begun anew that is not the whole conversation's: one person's, or one that all share.

    key: the session key at epoch 0. conversation: null for a shared session; with the conversation's data the row is erased.
    """

    key = models.CharField(max_length=200, unique=True)
    conversation = models.ForeignKey(Conversation, on_delete=models.CASCADE, null=True, related_name="sessions")
    epoch = models.PositiveIntegerField(default=0)

    class Meta:
        verbose_name, verbose_name_plural = _("session"), _("sessions")

    def __str__(self) -> str:
        return f"{self.key} {self.epoch}"


class Contact(models.Model):
    """A person as one account knows them. What a directory tells of them is written by `people.directory_rows`."""

    class Kind(models.TextChoices):
        UNKNOWN = "", _("unknown")
        MEMBER = "member", _("member of the company")
        CUSTOMER = "customer", _("customer")

    account = models.ForeignKey(
        ChannelAccount, on_delete=models.CASCADE, related_name="contacts", verbose_name=_("account")
    )
    external_id = models.CharField(_("id on the platform"), max_length=200)
    name = models.CharField(_("name"), max_length=200, blank=True)
    kind = models.CharField(
        _("who it is"), max_length=8, blank=True, choices=Kind.choices, default=Kind.UNKNOWN, db_default=""
    )
    department = models.CharField(_("department"), max_length=200, blank=True, default="", db_default="")
    remark = models.CharField(_("remark"), max_length=200, blank=True, default="", db_default="")
    # The name as the directory told it last. While it tells no other one, a name that staff entered stays.
    told_name = models.CharField(max_length=200, blank=True, default="", db_default="", editable=False)
    left_at = models.DateTimeField(_("left"), null=True, editable=False)
    directory_at = models.DateTimeField(_("seen in the directory"), null=True, editable=False)
    subscribed = models.BooleanField(_("follows"), null=True)
    # The turns that they had lately, as a time (bridge.pipeline.inbound.rate), and when one was last refused.
    turns_until = models.DateTimeField(null=True, editable=False)
    refused_at = models.DateTimeField(null=True, editable=False)
    name_fetched_at = models.DateTimeField(_("looked up"), null=True, editable=False)
    # The platform requires that this person's data be deleted.
    erasure_requested_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    class Meta:
        verbose_name, verbose_name_plural = _("contact"), _("contacts")
        constraints = [models.UniqueConstraint(fields=["account", "external_id"], name="contact_external_id")]
        indexes = [
            # The names task: contacts whose name nobody asked for yet.
            models.Index(fields=["account"], condition=models.Q(name_fetched_at=None), name="contact_to_look_up"),
            # erasure.erase_people: whose data is to be deleted.
            models.Index(
                fields=["erasure_requested_at"],
                condition=models.Q(erasure_requested_at__isnull=False),
                name="contact_to_erase",
            ),
            # search.contacts: a part of the name or of the id.
            GinIndex(
                OpClass(Upper("name"), name="gin_trgm_ops"),
                OpClass(Upper("external_id"), name="gin_trgm_ops"),
                name="contact_words",
            ),
            # search.contacts and search.people: two Chinese characters of the name.
            GinIndex(CharacterPairs("name"), name="contact_pairs"),
        ]

    def __str__(self) -> str:
        return self.name or self.external_id
