"""Alerts by rules and channels that staff set. The rules that most need are there from the start; staff groups get the rights."""

import accounts.fields
import bridge.models.alerts
import django.contrib.postgres.fields
import django.core.validators
import django.db.models.deletion
import django.utils.timezone
import uuid
from django.apps import apps as installed
from django.contrib.auth.management import create_permissions
from django.db import migrations, models


# As `bridge.models.alerts.RULE_NUMBERS` has them. How long silence is normal depends on the company, so that rule begins disabled.
RULES = (
    {"kind": "account_down"},
    {"kind": "gateway_down"},
    {"kind": "worker_silent"},
    {"kind": "backlog", "minutes": 15},
    {"kind": "failure_rate", "minutes": 15, "percent": 20, "least_count": 10},
    {"kind": "failure_codes", "least_count": 1},
    {"kind": "token", "minutes": 3},
    {"kind": "quota"},
    {"kind": "silence", "minutes": 180, "enabled": False},
    {"kind": "waiting_chats", "minutes": 15},
    {"kind": "other"},
)


def make_rules(apps, schema_editor):
    alias = schema_editor.connection.alias
    rule = apps.get_model("bridge", "AlertRule")
    rule.objects.using(alias).bulk_create([rule(**columns) for columns in RULES])


def give_rights(apps, schema_editor):
    """Viewers see rules and channels, admins change them. A group that staff renamed is left as it is."""
    alias = schema_editor.connection.alias
    create_permissions(installed.get_app_config("bridge"), verbosity=0, using=alias, apps=apps)
    permissions = apps.get_model("auth", "Permission").objects.using(alias)
    permissions = permissions.filter(content_type__app_label="bridge", content_type__model__in=("alertrule", "alertchannel"))
    for group in apps.get_model("auth", "Group").objects.using(alias).filter(name__in=("Viewers", "Operators", "Admins")):
        rights = permissions if group.name == "Admins" else permissions.filter(codename__startswith="view_")
        group.permissions.add(*rights)


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0005_login_and_sending_stopped'),
        ('bridge', '0016_staff_language'),
    ]

    operations = [
        migrations.CreateModel(
            name='AlertChannel',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('owner', models.CharField(blank=True, default='', editable=False, max_length=100)),
                ('owner_until', models.DateTimeField(editable=False, null=True)),
                ('fence', models.PositiveBigIntegerField(default=0, editable=False)),
                ('key', models.UUIDField(default=uuid.uuid4, editable=False, unique=True)),
                ('kind', models.CharField(choices=[('robot', 'WeCom group robot'), ('email', 'e-mail'), ('webhook', 'signed webhook')], max_length=8, verbose_name='kind')),
                ('name', models.CharField(max_length=100, verbose_name='name')),
                ('enabled', models.BooleanField(default=True, verbose_name='enabled')),
                ('environment', models.CharField(blank=True, default='', editable=False, max_length=32)),
                ('url', accounts.fields.EncryptedTextField(blank=True, default='', row='key', verbose_name='address')),
                ('emails', django.contrib.postgres.fields.ArrayField(base_field=models.EmailField(max_length=254), blank=True, default=list, size=None, verbose_name='e-mail addresses')),
                ('secret', accounts.fields.EncryptedTextField(blank=True, default='', editable=False, row='key')),
                ('language', models.CharField(choices=[('en', 'English'), ('zh-hans', '简体中文')], default=bridge.models.alerts.default_language, help_text='Of the alerts that this channel sends.', max_length=8, verbose_name='language')),
                ('quiet_from', models.TimeField(blank=True, null=True, verbose_name='quiet from')),
                ('quiet_until', models.TimeField(blank=True, help_text='In the time zone of the site. What happens meanwhile is sent after that as one summary.', null=True, verbose_name='quiet until')),
                ('max_per_hour', models.PositiveSmallIntegerField(default=20, help_text='What comes beyond that waits and is sent later in one message.', validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(1000)], verbose_name='messages an hour at most')),
                ('failures', models.PositiveSmallIntegerField(default=0, editable=False)),
                ('next_try_at', models.DateTimeField(editable=False, null=True, verbose_name='next attempt')),
                ('created_at', models.DateTimeField(auto_now_add=True, verbose_name='created')),
                ('updated_at', models.DateTimeField(auto_now=True, verbose_name='changed')),
                ('account', models.ForeignKey(blank=True, limit_choices_to={'kind': 'wecom_robot'}, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='accounts.channelaccount', verbose_name='account of the robot')),
            ],
            options={
                'verbose_name': 'alert channel',
                'verbose_name_plural': 'alert channels',
                'ordering': ['name', 'id'],
            },
        ),
        migrations.CreateModel(
            name='AlertMessage',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('is_test', models.BooleanField(default=False, verbose_name='test')),
                ('target', models.CharField(max_length=500, verbose_name='to')),
                ('title', models.CharField(max_length=300, verbose_name='title')),
                ('text', models.TextField(verbose_name='text')),
                ('state', models.CharField(choices=[('sending', 'being sent'), ('accepted', 'accepted'), ('refused', 'not accepted'), ('lost', 'the process was lost')], default='sending', max_length=8, verbose_name='state')),
                ('code', models.CharField(blank=True, default='', max_length=64, verbose_name='code')),
                ('code_params', models.JSONField(blank=True, default=dict)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='sent')),
                ('finished_at', models.DateTimeField(null=True, verbose_name='finished')),
                ('channel', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='messages', to='bridge.alertchannel')),
            ],
            options={
                'verbose_name': 'alert message',
                'verbose_name_plural': 'alert messages',
                'ordering': ['-id'],
            },
        ),
        migrations.CreateModel(
            name='AlertDelivery',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('occasion', models.CharField(choices=[('opened', 'alert'), ('reminder', 'reminder'), ('resolved', 'recovery alert')], max_length=8, verbose_name='occasion')),
                ('number', models.PositiveSmallIntegerField(default=0)),
                ('state', models.CharField(choices=[('waiting', 'waiting'), ('sent', 'sent'), ('skipped', 'not sent')], default='waiting', max_length=7, verbose_name='state')),
                ('code', models.CharField(blank=True, default='', max_length=64, verbose_name='code')),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='created')),
                ('finished_at', models.DateTimeField(null=True, verbose_name='finished')),
                ('channel', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='alerts', to='bridge.alertchannel')),
                ('incident', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='alerts', to='bridge.incident')),
                ('message', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='alerts', to='bridge.alertmessage')),
            ],
            options={
                'verbose_name': 'alert',
                'verbose_name_plural': 'alerts',
                'ordering': ['id'],
            },
        ),
        migrations.CreateModel(
            name='AlertRule',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.CharField(choices=[('account_down', 'an account is down'), ('gateway_down', 'a gateway is down or takes no turns'), ('backlog', 'messages wait too long'), ('failure_rate', 'many deliveries fail'), ('failure_codes', 'deliveries fail'), ('token', 'an access token cannot be refreshed'), ('quota', 'a quota is nearly used up'), ('silence', 'an account receives nothing'), ('waiting_chats', 'people wait for staff'), ('worker_silent', 'a worker, beat or connector does not work'), ('other', 'anything else that is listed as an incident')], max_length=16, verbose_name='what')),
                ('name', models.CharField(blank=True, default='', help_text='Empty: it is called by what it watches.', max_length=100, verbose_name='name')),
                ('enabled', models.BooleanField(default=True, verbose_name='enabled')),
                ('minutes', models.PositiveIntegerField(blank=True, null=True, validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(20160)], verbose_name='minutes')),
                ('percent', models.PositiveSmallIntegerField(blank=True, null=True, validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(100)], verbose_name='percent')),
                ('least_count', models.PositiveIntegerField(blank=True, null=True, validators=[django.core.validators.MinValueValidator(1)], verbose_name='least number of failures')),
                ('least_severity', models.PositiveSmallIntegerField(choices=[(1, 'notice'), (2, 'warning'), (3, 'critical')], default=2, verbose_name='from severity')),
                ('codes', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=64), blank=True, default=list, help_text='With commas between them, as the page of a delivery shows them. Empty: every code.', size=None, verbose_name='codes')),
                ('work_from', models.TimeField(blank=True, null=True, verbose_name='working hours from')),
                ('work_until', models.TimeField(blank=True, null=True, verbose_name='working hours until')),
                ('weekdays_only', models.BooleanField(default=False, verbose_name='Monday to Friday only')),
                ('reminder_hours', models.PositiveSmallIntegerField(blank=True, help_text='While the incident lasts and nobody has acknowledged it. Empty: no reminder.', null=True, validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(168)], verbose_name='remind after hours')),
                ('created_at', models.DateTimeField(auto_now_add=True, verbose_name='created')),
                ('updated_at', models.DateTimeField(auto_now=True, verbose_name='changed')),
                ('accounts', models.ManyToManyField(blank=True, help_text='None chosen: all accounts.', related_name='+', to='accounts.channelaccount', verbose_name='accounts')),
            ],
            options={
                'verbose_name': 'alert rule',
                'verbose_name_plural': 'alert rules',
                'ordering': ['id'],
            },
        ),
        migrations.AddField(
            model_name='alertchannel',
            name='rules',
            field=models.ManyToManyField(blank=True, help_text='None chosen: all rules.', related_name='channels', to='bridge.alertrule', verbose_name='rules'),
        ),
        migrations.AddIndex(
            model_name='alertmessage',
            index=models.Index(fields=['channel', '-id'], name='alert_message_channel'),
        ),
        migrations.AddConstraint(
            model_name='alertmessage',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('finished_at', None), ('state', 'sending')), models.Q(models.Q(('state', 'sending'), _negated=True), ('finished_at__isnull', False)), _connector='OR'), name='alert_message_finished_iff_not_sending'),
        ),
        migrations.AddIndex(
            model_name='alertdelivery',
            index=models.Index(condition=models.Q(('state', 'waiting')), fields=['channel', 'id'], name='alert_waiting'),
        ),
        migrations.AddConstraint(
            model_name='alertdelivery',
            constraint=models.UniqueConstraint(fields=('incident', 'channel', 'occasion', 'number'), name='alert_once'),
        ),
        migrations.AddConstraint(
            model_name='alertdelivery',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('finished_at', None), ('state', 'waiting')), models.Q(models.Q(('state', 'waiting'), _negated=True), ('finished_at__isnull', False)), _connector='OR'), name='alert_finished_iff_not_waiting'),
        ),
        migrations.AddConstraint(
            model_name='alertrule',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('work_from', None), ('work_until', None)), models.Q(('work_from__isnull', False), ('work_until__isnull', False)), _connector='OR'), name='alert_rule_hours_both'),
        ),
        migrations.AddConstraint(
            model_name='alertchannel',
            constraint=models.UniqueConstraint(condition=models.Q(('environment', ''), _negated=True), fields=('environment',), name='alert_channel_environment_once'),
        ),
        migrations.AddConstraint(
            model_name='alertchannel',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('quiet_from', None), ('quiet_until', None)), models.Q(('quiet_from__isnull', False), ('quiet_until__isnull', False)), _connector='OR'), name='alert_channel_quiet_both'),
        ),
        migrations.RunPython(make_rules, migrations.RunPython.noop),
        migrations.RunPython(give_rights, migrations.RunPython.noop),
    ]
