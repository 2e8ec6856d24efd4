"""Accounts that are there already keep everything: an upgrade deletes nothing unasked. New ones begin with RETENTION_DAYS."""

import django.core.validators
from django.db import migrations, models

import accounts.models

RETENTION = {
    "blank": True,
    "null": True,
    "help_text": "Older messages are deleted with their files, unless something about them is still open. Empty: kept for ever.",
    "validators": [django.core.validators.MinValueValidator(7), django.core.validators.MaxValueValidator(36500)],
    "verbose_name": "days messages are kept",
}


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0002_told_state"),
    ]

    operations = [
        migrations.AddField(
            model_name="channelaccount",
            name="retention_days",
            field=models.PositiveIntegerField(**RETENTION),
        ),
        migrations.AlterField(
            model_name="channelaccount",
            name="retention_days",
            field=models.PositiveIntegerField(**RETENTION, default=accounts.models.default_retention),
        ),
        migrations.AddConstraint(
            model_name="channelaccount",
            constraint=models.CheckConstraint(
                condition=models.Q(("retention_days", None), ("retention_days__gte", 7), _connector="OR"),
                name="account_retention_not_too_short",
            ),
        ),
    ]
