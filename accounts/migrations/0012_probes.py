"""When an account that fails is asked again, and how often it was asked since it began to fail."""

from __future__ import annotations

from django.db import migrations, models
from django.utils import timezone


def ask_now(apps, schema_editor):
    """Those that fail already were asked by nobody."""
    apps.get_model("accounts", "ChannelAccount").objects.filter(state="failing").update(next_try_at=timezone.now())


class Migration(migrations.Migration):
    dependencies = [("accounts", "0011_values_in_rows")]

    operations = [
        migrations.AddField(
            "channelaccount",
            "next_try_at",
            models.DateTimeField(editable=False, null=True, verbose_name="next try"),
        ),
        migrations.AddField(
            "channelaccount", "probes", models.PositiveSmallIntegerField(default=0, editable=False)
        ),
        migrations.RunPython(ask_now, migrations.RunPython.noop),
    ]
