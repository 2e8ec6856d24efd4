"""Turns are shared fairly, a session is begun anew by its key, and an agent's rights stand in its mapping."""

import django.db.models.deletion
import django.db.models.functions.comparison
from django.apps import apps as installed
from django.conf import settings
from django.contrib.auth.management import create_permissions
from django.db import migrations, models


def let_admins_send_to_many(apps, schema_editor):
    """Django makes permissions only after the last migration, so this one is made here."""
    alias = schema_editor.connection.alias
    create_permissions(installed.get_app_config("bridge"), verbosity=0, using=alias, apps=apps)
    permission = apps.get_model("auth", "Permission").objects.using(alias).get(
        content_type__app_label="bridge", codename="send_to_many"
    )
    for group in apps.get_model("auth", "Group").objects.using(alias).filter(name="Admins"):
        group.permissions.add(permission)


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0010_fair_shares_and_rights'),
        ('bridge', '0011_reasons_and_second_sources'),
        ('openclaw', '0001_initial'),
        ('auth', '0012_alter_user_first_name_max_length'),
        ('contenttypes', '0002_remove_content_type_name'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='SessionEpoch',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('key', models.CharField(max_length=200, unique=True)),
                ('epoch', models.PositiveIntegerField(default=0)),
            ],
            options={
                'verbose_name': 'session',
                'verbose_name_plural': 'sessions',
            },
        ),
        migrations.AlterModelOptions(
            name='message',
            options={'ordering': ['-id'], 'permissions': [('send_message', 'Can send a message'), ('send_to_many', 'Can send to several people, or to everybody, at once'), ('read_content', 'Can read what messages say')], 'verbose_name': 'message', 'verbose_name_plural': 'messages'},
        ),
        migrations.RemoveField(
            model_name='conversation',
            name='stopped_at',
        ),
        migrations.AddField(
            model_name='contact',
            name='refused_at',
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name='contact',
            name='turns_until',
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name='delivery',
            name='stopped_at',
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name='delivery',
            name='turn_at',
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name='route',
            name='allow_cards',
            field=models.BooleanField(default=False, help_text="A template_card block in the agent's answer becomes a card with buttons.", verbose_name='may send cards'),
        ),
        migrations.AddField(
            model_name='route',
            name='allow_links',
            field=models.BooleanField(default=False, help_text='Otherwise a link is shown as its words and its whole address.', verbose_name='may hide addresses behind words'),
        ),
        migrations.AddField(
            model_name='route',
            name='allow_mention_all',
            field=models.BooleanField(default=False, help_text="The agent's @all calls the whole group.", verbose_name='may mention everybody'),
        ),
        migrations.AddField(
            model_name='route',
            name='commands_for_all',
            field=models.BooleanField(default=False, help_text="/stop breaks off anybody's turn in the group, and /new clears a memory that several conversations share. Otherwise /stop ends only one's own turn, and a shared memory stays.", verbose_name='commands count for everybody'),
        ),
        migrations.AlterField(
            model_name='delivery',
            name='reason',
            field=models.CharField(blank=True, choices=[('no_route', 'no mapping for this group or person'), ('route_disabled', 'the mapping is switched off'), ('not_addressed', 'the bot was not addressed'), ('no_trigger', 'no trigger word in the text'), ('sender', 'this sender is not allowed'), ('paused', 'the conversation is paused'), ('human', 'staff answer this conversation'), ('event', 'an event, not a message'), ('unsupported', 'nothing of it can be read'), ('no_sender', 'it does not say who sent it'), ('empty', 'it says nothing, and no file came with it'), ('command', 'a command to the bridge'), ('stopped', 'broken off by /stop'), ('part_before', 'waits for the part before it'), ('too_long', 'longer than the platform can carry'), ('too_old', 'too old: it would confuse to send it now'), ('no_reply', 'nothing is left by which this bot could answer'), ('permanent', 'refused for good'), ('configuration', 'needs a change of configuration'), ('tries_spent', 'all tries failed'), ('unknown', 'the request left and no answer came'), ('content', 'this cannot be sent here'), ('internal_error', 'an error of the bridge itself'), ('partial', 'accepted, but not for everyone or not in full'), ('no_answer', 'the agent had nothing to say'), ('no_endpoint', 'the webhook was deleted'), ('window', 'WeChat allows no more until the person writes again'), ('merged', 'sent in one message with another part'), ('read_on', 'asked for the rest of an answer'), ('unread', 'the person never asked for the rest'), ('gone', 'the person does not follow the account any more'), ('review', 'the content check objects: a person decides'), ('too_many_turns', 'more turns a minute than this person may have'), ('checking', 'the content check is not finished')], default='', max_length=16, verbose_name='reason'),
        ),
        migrations.AddIndex(
            model_name='delivery',
            index=models.Index(models.F('wire'), django.db.models.functions.comparison.Coalesce('gateway', 0), django.db.models.functions.comparison.Coalesce('account', 0), django.db.models.functions.comparison.Greatest('due_at', 'turn_at'), condition=models.Q(('state', 'pending')), name='delivery_fair'),
        ),
        migrations.AddField(
            model_name='sessionepoch',
            name='conversation',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.CASCADE, related_name='sessions', to='bridge.conversation'),
        ),
        migrations.RunPython(let_admins_send_to_many, migrations.RunPython.noop),
    ]
