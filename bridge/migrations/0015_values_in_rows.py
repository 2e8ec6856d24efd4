"""What is encrypted opens in its own row only, from now on; webhooks get a key for it."""

import accounts.fields
import bridge.models.webhooks
import uuid
from django.db import migrations, models

from accounts.fields import ALONE, IN_ROW
from accounts.rotation import change_versions

FIELDS = {"bridge.Message": ["reply_address"], "bridge.WebhookEndpoint": ["url", "secret", "previous_secret"]}


def to_rows(apps, schema_editor):
    change_versions(apps, FIELDS, IN_ROW)


def to_columns(apps, schema_editor):
    change_versions(apps, FIELDS, ALONE)


class Migration(migrations.Migration):

    dependencies = [
        ('bridge', '0014_ids_of_people_in_lower_case'),
    ]

    operations = [
        migrations.AddField(
            model_name='webhookendpoint',
            name='key',
            field=models.UUIDField(editable=False, null=True),
        ),
        migrations.RunSQL("UPDATE bridge_webhookendpoint SET key = gen_random_uuid()", migrations.RunSQL.noop),
        migrations.AlterField(
            model_name='webhookendpoint',
            name='key',
            field=models.UUIDField(default=uuid.uuid4, editable=False, unique=True),
        ),
        migrations.AlterField(
            model_name='message',
            name='reply_address',
            field=accounts.fields.EncryptedTextField(blank=True, default='', row='uuid'),
        ),
        migrations.AlterField(
            model_name='webhookendpoint',
            name='previous_secret',
            field=accounts.fields.EncryptedTextField(blank=True, default='', editable=False, row='key'),
        ),
        migrations.AlterField(
            model_name='webhookendpoint',
            name='secret',
            field=accounts.fields.EncryptedTextField(default=bridge.models.webhooks.new_secret, editable=False, row='key'),
        ),
        migrations.AlterField(
            model_name='webhookendpoint',
            name='url',
            field=accounts.fields.EncryptedTextField(row='key', verbose_name='address'),
        ),
        migrations.RunPython(to_rows, to_columns),
    ]
