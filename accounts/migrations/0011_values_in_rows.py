"""What is encrypted opens in its own row only, from now on."""

import accounts.fields
from django.db import migrations

from accounts.fields import ALONE, IN_ROW
from accounts.rotation import change_versions

FIELDS = {"accounts.AccessToken": ["value"], "accounts.ChannelAccount": ["credentials"]}


def to_rows(apps, schema_editor):
    change_versions(apps, FIELDS, IN_ROW)


def to_columns(apps, schema_editor):
    change_versions(apps, FIELDS, ALONE)


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0010_fair_shares_and_rights'),
    ]

    operations = [
        migrations.AlterField(
            model_name='accesstoken',
            name='value',
            field=accounts.fields.EncryptedTextField(blank=True, default='', row='account'),
        ),
        migrations.AlterField(
            model_name='channelaccount',
            name='credentials',
            field=accounts.fields.EncryptedJSONField(default=dict, editable=False, row='key', verbose_name='credentials'),
        ),
        migrations.RunPython(to_rows, to_columns),
    ]
