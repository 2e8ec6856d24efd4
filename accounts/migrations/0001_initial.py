"""Every table of this app. Why each index is there stands beside it in `accounts/models.py`."""

import accounts.fields
import accounts.models
import django.contrib.postgres.fields
import django.core.validators
import django.db.models.deletion
import django.db.models.functions.text
import django.utils.timezone
import uuid
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
    ]

    operations = [
        migrations.CreateModel(
            name='ChannelAccount',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('key', models.UUIDField(default=uuid.uuid4, editable=False, unique=True, verbose_name='key')),
                ('kind', models.CharField(max_length=32, verbose_name='kind')),
                ('name', models.CharField(max_length=100, verbose_name='name')),
                ('external_id', models.CharField(editable=False, max_length=200, verbose_name='identity on the platform')),
                ('credentials', accounts.fields.EncryptedJSONField(default=dict, editable=False, row='key', verbose_name='credentials')),
                ('api_base_url', models.URLField(blank=True, help_text="Leave empty for the platform's own. For a proxy or the simulator.", verbose_name='API address')),
                ('enabled', models.BooleanField(default=True, verbose_name='enabled')),
                ('retention_days', models.PositiveIntegerField(blank=True, default=accounts.models.default_retention, help_text='Older messages are deleted with their files, unless something about them is still open. Empty: kept for ever.', null=True, validators=[django.core.validators.MinValueValidator(7), django.core.validators.MaxValueValidator(36500)], verbose_name='days messages are kept')),
                ('moderation_scope', models.CharField(blank=True, choices=[('', 'nothing'), ('in', 'what people write'), ('out', 'what the agent answers'), ('both', 'both')], default='', help_text="What WeChat's content check flags is on hold until staff release or dismiss it.", max_length=4, verbose_name='content check')),
                ('language', models.CharField(choices=[('zh-hans', '简体中文'), ('en', 'English')], default='zh-hans', help_text="People read the bridge's own sentences in this language, unless you write other ones below.", max_length=8, verbose_name='language of the people')),
                ('sentences', models.JSONField(blank=True, default=dict, editable=False, verbose_name='sentences')),
                ('gateway_share', models.PositiveSmallIntegerField(default=75, help_text="At most this share of its gateway's turns at a time, while other accounts are mapped to the same gateway. One eighth, and at least one turn, stays free for accounts that have nothing under way.", validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(100)], verbose_name='share of a gateway, percent')),
                ('turns_per_minute', models.PositiveSmallIntegerField(blank=True, default=30, help_text='Further messages of the person are skipped, and the person is told so once. Empty: no limit.', null=True, validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(1000)], verbose_name='turns a minute for each person')),
                ('state', models.CharField(choices=[('new', 'not used yet'), ('ok', 'working'), ('failing', 'failing – retrying'), ('stopped', 'stopped – action required')], default='new', editable=False, max_length=16, verbose_name='state')),
                ('state_code', models.CharField(blank=True, default='', editable=False, max_length=64)),
                ('state_params', models.JSONField(blank=True, default=dict, editable=False)),
                ('state_since', models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name='since')),
                ('next_try_at', models.DateTimeField(editable=False, null=True, verbose_name='next attempt')),
                ('probes', models.PositiveSmallIntegerField(default=0, editable=False)),
                ('notified_state', models.CharField(choices=[('new', 'not used yet'), ('ok', 'working'), ('failing', 'failing – retrying'), ('stopped', 'stopped – action required')], default='new', editable=False, max_length=16)),
                ('created_at', models.DateTimeField(auto_now_add=True, verbose_name='created')),
                ('updated_at', models.DateTimeField(auto_now=True, verbose_name='changed')),
            ],
            options={
                'verbose_name': 'account',
                'verbose_name_plural': 'accounts',
                'ordering': ['name'],
                'constraints': [models.UniqueConstraint(django.db.models.functions.text.Lower('name'), name='account_name_once', violation_error_message='There is an account with this name already.'), models.UniqueConstraint(fields=('kind', 'external_id'), name='account_kind_external_id', violation_error_message='An account with this identity exists already.'), models.CheckConstraint(condition=models.Q(('retention_days', None), ('retention_days__gte', 7), _connector='OR'), name='account_retention_not_too_short')],
            },
        ),
        migrations.CreateModel(
            name='AccessToken',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('owner', models.CharField(blank=True, default='', editable=False, max_length=100)),
                ('owner_until', models.DateTimeField(editable=False, null=True)),
                ('fence', models.PositiveBigIntegerField(default=0, editable=False)),
                ('value', accounts.fields.EncryptedTextField(blank=True, default='', row='account')),
                ('address', models.CharField(blank=True, default='', max_length=200)),
                ('generation', models.PositiveBigIntegerField(default=0)),
                ('expires_at', models.DateTimeField(null=True)),
                ('failure_code', models.CharField(blank=True, default='', max_length=64)),
                ('failure_params', models.JSONField(default=dict)),
                ('failed_at', models.DateTimeField(null=True)),
                ('wait_until', models.DateTimeField(null=True)),
                ('refreshed_at', models.DateTimeField(null=True)),
                ('account', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='token', to='accounts.channelaccount')),
            ],
            options={
                'verbose_name': 'access token',
                'verbose_name_plural': 'access tokens',
            },
        ),
        migrations.CreateModel(
            name='ReplyWindow',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('peer_id', models.CharField(max_length=200)),
                ('left', models.PositiveSmallIntegerField(default=0)),
                ('until', models.DateTimeField()),
                ('last_action_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('sent_times', django.contrib.postgres.fields.ArrayField(base_field=models.DateTimeField(), default=list, size=None)),
                ('account', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='windows', to='accounts.channelaccount')),
            ],
            options={
                'verbose_name': 'reply window',
                'verbose_name_plural': 'reply windows',
                'constraints': [models.UniqueConstraint(fields=('account', 'peer_id'), name='window_one_per_person')],
            },
        ),
        migrations.CreateModel(
            name='Restriction',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('capability', models.CharField(max_length=32, verbose_name='capability')),
                ('code', models.CharField(max_length=64, verbose_name='code')),
                ('code_params', models.JSONField(default=dict)),
                ('since', models.DateTimeField(default=django.utils.timezone.now, verbose_name='since')),
                ('until', models.DateTimeField(verbose_name='until')),
                ('account', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='restrictions', to='accounts.channelaccount')),
            ],
            options={
                'verbose_name': 'restriction',
                'verbose_name_plural': 'restrictions',
                'constraints': [models.UniqueConstraint(fields=('account', 'capability'), name='restriction_once')],
            },
        ),
    ]
