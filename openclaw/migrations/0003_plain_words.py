"""Labels in plain words: no column changes."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('openclaw', '0002_values_in_rows'),
    ]

    operations = [
        migrations.AlterField(
            model_name='gateway',
            name='state',
            field=models.CharField(choices=[('new', 'not used yet'), ('ok', 'working'), ('failing', 'failing – retrying'), ('stopped', 'stopped – action required')], default='new', editable=False, max_length=16, verbose_name='state'),
        ),
    ]
