"""Labels in plain words: no column changes."""

import django.core.validators
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0012_probes'),
    ]

    operations = [
        migrations.AlterField(
            model_name='channelaccount',
            name='gateway_share',
            field=models.PositiveSmallIntegerField(default=75, help_text="At most this share of its gateway's turns at a time, while other accounts are mapped to the same gateway. One eighth, and at least one turn, stays free for accounts that have nothing under way.", validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(100)], verbose_name='share of a gateway, percent'),
        ),
        migrations.AlterField(
            model_name='channelaccount',
            name='state',
            field=models.CharField(choices=[('new', 'not used yet'), ('ok', 'working'), ('failing', 'failing – retrying'), ('stopped', 'stopped – action required')], default='new', editable=False, max_length=16, verbose_name='state'),
        ),
        migrations.AlterField(
            model_name='channelaccount',
            name='told_state',
            field=models.CharField(choices=[('new', 'not used yet'), ('ok', 'working'), ('failing', 'failing – retrying'), ('stopped', 'stopped – action required')], default='new', editable=False, max_length=16),
        ),
    ]
