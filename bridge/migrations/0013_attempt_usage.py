"""What a turn of an agent took."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("bridge", "0012_fair_shares_and_rights")]

    operations = [migrations.AddField("attempt", "usage", models.JSONField(null=True, verbose_name="usage"))]
