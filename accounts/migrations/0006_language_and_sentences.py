from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0005_uses_of_windows"),
    ]

    operations = [
        migrations.AddField(
            model_name="channelaccount",
            name="language",
            field=models.CharField(
                choices=[("zh-hans", "简体中文"), ("en", "English")],
                default="zh-hans",
                help_text="In it people read what the bridge itself says, unless a sentence of its own is written below.",
                max_length=8,
                verbose_name="language of the people",
            ),
        ),
        migrations.AddField(
            model_name="channelaccount",
            name="sentences",
            field=models.JSONField(blank=True, default=dict, editable=False, verbose_name="sentences"),
        ),
    ]
