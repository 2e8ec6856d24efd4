"""Search by trigrams, and an index for each list that a million rows would make slow.

Made while callbacks go on: no statement here locks a table against writing. Old indexes go last, when their successors are there.
"""

from django.contrib.postgres.indexes import GinIndex, OpClass
from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently, TrigramExtension
from django.db import migrations, models
from django.db.models.functions import Upper


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("bridge", "0004_roles"),
    ]

    operations = [
        TrigramExtension(),
        migrations.AlterModelOptions(
            name="conversation",
            options={
                "ordering": [models.OrderBy(models.F("last_inbound_at"), descending=True, nulls_last=True), "-id"],
                "permissions": [
                    ("pause_conversation", "Can pause a conversation, take it over and begin a new session")
                ],
                "verbose_name": "conversation",
                "verbose_name_plural": "conversations",
            },
        ),
        AddIndexConcurrently(
            model_name="contact",
            index=GinIndex(
                OpClass(Upper("name"), name="gin_trgm_ops"),
                OpClass(Upper("external_id"), name="gin_trgm_ops"),
                name="contact_words",
            ),
        ),
        AddIndexConcurrently(
            model_name="conversation",
            index=models.Index(
                models.OrderBy(models.F("last_inbound_at"), descending=True, nulls_last=True),
                models.OrderBy(models.F("id"), descending=True),
                name="conversation_newest",
            ),
        ),
        AddIndexConcurrently(
            model_name="conversation",
            index=models.Index(fields=["peer_id"], name="conversation_peer_id"),
        ),
        AddIndexConcurrently(
            model_name="conversation",
            index=GinIndex(
                OpClass(Upper("title"), name="gin_trgm_ops"),
                OpClass(Upper("peer_id"), name="gin_trgm_ops"),
                name="conversation_words",
            ),
        ),
        AddIndexConcurrently(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("dismissed_at", None), ("state__in", ("dead", "uncertain"))),
                fields=["-id"],
                include=("state", "reason", "account", "endpoint", "target", "finished_at"),
                name="delivery_failures",
            ),
        ),
        AddIndexConcurrently(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("dismissed_at", None), ("state__in", ("dead", "uncertain"))),
                fields=["lane"],
                name="delivery_failed_lanes",
            ),
        ),
        AddIndexConcurrently(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("state__in", ("skipped", "dead", "uncertain"))),
                fields=["state", "-id"],
                name="delivery_state",
            ),
        ),
        AddIndexConcurrently(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("reason", ""), _negated=True), fields=["reason", "-id"], name="delivery_reason"
            ),
        ),
        AddIndexConcurrently(
            model_name="delivery",
            index=models.Index(condition=models.Q(("target", "webhook")), fields=["-id"], name="delivery_hooks"),
        ),
        AddIndexConcurrently(
            model_name="delivery",
            index=models.Index(fields=["created_at"], name="delivery_day"),
        ),
        AddIndexConcurrently(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("dismissed_at__isnull", False)), fields=["-id"], name="delivery_dismissed"
            ),
        ),
        AddIndexConcurrently(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("remote_id", ""), _negated=True), fields=["remote_id"], name="delivery_remote_id"
            ),
        ),
        AddIndexConcurrently(
            model_name="message",
            index=GinIndex(
                OpClass(Upper("text"), name="gin_trgm_ops"),
                fastupdate=True,
                gin_pending_list_limit=1024,
                name="message_text",
            ),
        ),
        AddIndexConcurrently(
            model_name="message",
            index=models.Index(
                condition=models.Q(("kind", "text"), _negated=True), fields=["kind", "-id"], name="message_kind"
            ),
        ),
        AddIndexConcurrently(
            model_name="message",
            index=models.Index(
                condition=models.Q(("source__in", ("channel", "agent")), _negated=True),
                fields=["source", "-id"],
                name="message_source",
            ),
        ),
        # How frequent a word is decides whether the index is used or the newest rows are read. The usual 100 samples tell it too roughly.
        migrations.RunSQL(
            "ALTER INDEX message_text ALTER COLUMN 1 SET STATISTICS 500; ANALYZE bridge_message, bridge_contact, bridge_conversation",
            migrations.RunSQL.noop,
        ),
        RemoveIndexConcurrently(
            model_name="conversation",
            name="conversation_latest",
        ),
        RemoveIndexConcurrently(
            model_name="delivery",
            name="delivery_dead_letters",
        ),
    ]
