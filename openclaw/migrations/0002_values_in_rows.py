"""What is encrypted opens in its own row only, from now on; gateways get a key for it."""

import accounts.fields
import uuid
from django.db import migrations, models

from accounts.fields import ALONE, IN_ROW
from accounts.rotation import change_versions

FIELDS = {"openclaw.Gateway": ["token", "device_key", "device_token"]}


def to_rows(apps, schema_editor):
    change_versions(apps, FIELDS, IN_ROW)


def to_columns(apps, schema_editor):
    change_versions(apps, FIELDS, ALONE)


class Migration(migrations.Migration):

    dependencies = [
        ('openclaw', '0001_initial'),
    ]

    operations = [
        migrations.AddField(
            model_name='gateway',
            name='key',
            field=models.UUIDField(editable=False, null=True),
        ),
        migrations.RunSQL("UPDATE openclaw_gateway SET key = gen_random_uuid()", migrations.RunSQL.noop),
        migrations.AlterField(
            model_name='gateway',
            name='key',
            field=models.UUIDField(default=uuid.uuid4, editable=False, unique=True),
        ),
        migrations.AlterField(
            model_name='gateway',
            name='device_key',
            field=accounts.fields.EncryptedTextField(blank=True, default='', editable=False, row='key'),
        ),
        migrations.AlterField(
            model_name='gateway',
            name='device_token',
            field=accounts.fields.EncryptedTextField(blank=True, default='', editable=False, row='key'),
        ),
        migrations.AlterField(
            model_name='gateway',
            name='token',
            field=accounts.fields.EncryptedTextField(blank=True, default='', help_text='gateway.auth.token in openclaw.json.', row='key', verbose_name='token'),
        ),
        migrations.RunPython(to_rows, to_columns),
    ]
