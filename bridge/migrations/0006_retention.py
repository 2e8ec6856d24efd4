"""Indexes by age, for what is kept for a time only. Made while callbacks go on; the account's own index goes when its successor is there."""

import django.db.models.deletion
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("accounts", "0003_retention"),
        ("bridge", "0005_a_million_rows"),
    ]

    operations = [
        AddIndexConcurrently(
            model_name="message",
            index=models.Index(fields=["account", "created_at"], name="message_age"),
        ),
        AddIndexConcurrently(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("finished_at__isnull", False), ("target", "webhook")),
                fields=["finished_at"],
                name="delivery_hook_age",
            ),
        ),
        migrations.AlterField(
            model_name="message",
            name="account",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="messages",
                to="accounts.channelaccount",
            ),
        ),
    ]
