"""Every table of this app. Why each index is there stands beside it in `openclaw/models.py`."""

import accounts.fields
import django.core.validators
import django.utils.timezone
import uuid
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
    ]

    operations = [
        migrations.CreateModel(
            name='Gateway',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('key', models.UUIDField(default=uuid.uuid4, editable=False, unique=True)),
                ('name', models.CharField(max_length=100, unique=True, verbose_name='name')),
                ('base_url', models.URLField(help_text='For example http://127.0.0.1:18789. WebSocket and HTTP share it.', verbose_name='address')),
                ('token', accounts.fields.EncryptedTextField(blank=True, default='', help_text='gateway.auth.token in openclaw.json.', row='key', verbose_name='token')),
                ('device_key', accounts.fields.EncryptedTextField(blank=True, default='', editable=False, row='key')),
                ('device_token', accounts.fields.EncryptedTextField(blank=True, default='', editable=False, row='key')),
                ('transport', models.CharField(choices=[('ws', 'WebSocket'), ('http', 'HTTP streaming')], default='ws', help_text='HTTP streaming only where WebSocket is not let through: a lost connection there loses the turn.', max_length=8, verbose_name='transport')),
                ('timeout_seconds', models.PositiveIntegerField(default=1800, validators=[django.core.validators.MinValueValidator(5), django.core.validators.MaxValueValidator(86400)], verbose_name='longest turn, seconds')),
                ('max_in_flight', models.PositiveIntegerField(default=8, help_text="About twice the processor cores of the gateway's machine.", validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(2000)], verbose_name='turns at a time')),
                ('enabled', models.BooleanField(default=True, verbose_name='enabled')),
                ('state', models.CharField(choices=[('new', 'not used yet'), ('ok', 'working'), ('failing', 'failing – retrying'), ('stopped', 'stopped – action required')], default='new', editable=False, max_length=16, verbose_name='state')),
                ('state_code', models.CharField(blank=True, default='', editable=False, max_length=64)),
                ('state_params', models.JSONField(blank=True, default=dict, editable=False)),
                ('state_since', models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name='since')),
                ('version', models.CharField(blank=True, editable=False, max_length=40, verbose_name='version')),
                ('boot_id', models.CharField(blank=True, editable=False, max_length=80)),
                ('agents', models.JSONField(default=list, editable=False, verbose_name='agents')),
                ('owner', models.CharField(blank=True, default='', editable=False, max_length=100)),
                ('owner_until', models.DateTimeField(editable=False, null=True)),
                ('fence', models.PositiveBigIntegerField(default=0, editable=False)),
                ('created_at', models.DateTimeField(auto_now_add=True, verbose_name='created')),
                ('updated_at', models.DateTimeField(auto_now=True, verbose_name='changed')),
            ],
            options={
                'verbose_name': 'gateway',
                'verbose_name_plural': 'gateways',
                'ordering': ['name'],
            },
        ),
    ]
