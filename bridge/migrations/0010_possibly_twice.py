"""The mark of what may arrive twice, and answers that say nothing about the deed: -1 was taken for a refusal until now."""

from django.db import migrations, models


def doubt_busy_answers(apps, schema_editor):
    attempts = apps.get_model("bridge", "Attempt").objects.using(schema_editor.connection.alias)
    attempts.filter(outcome="error", code="-1", delivery__target="channel").update(outcome="unknown")


class Migration(migrations.Migration):
    dependencies = [("bridge", "0009_one_index_for_each_question")]

    operations = [
        migrations.AddField(
            "delivery", "possibly_twice", models.BooleanField("possibly twice", default=False, db_default=False)
        ),
        migrations.AddField(
            "attempt", "possibly_twice", models.BooleanField("possibly twice", default=False, db_default=False)
        ),
        migrations.RunPython(doubt_busy_answers, migrations.RunPython.noop),
    ]
