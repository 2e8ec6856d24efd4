"""Labels in plain words: no column changes."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('bridge', '0015_values_in_rows'),
    ]

    operations = [
        migrations.AlterField(
            model_name='conversation',
            name='mode',
            field=models.CharField(choices=[('bot', 'the agent answers'), ('paused', 'paused: new messages are stored but not answered'), ('human', 'staff answer')], default='bot', max_length=8, verbose_name='mode'),
        ),
        migrations.AlterField(
            model_name='delivery',
            name='reason',
            field=models.CharField(blank=True, choices=[('no_route', 'no mapping for this group or person'), ('route_disabled', 'the mapping is switched off'), ('not_addressed', 'the bot was not addressed'), ('no_trigger', 'no trigger word in the text'), ('sender', 'this sender is not allowed'), ('paused', 'the conversation is paused'), ('human', 'staff answer this conversation'), ('event', 'an event, not a message'), ('unsupported', 'nothing of it can be read'), ('no_sender', 'it does not say who sent it'), ('empty', 'it says nothing, and no file came with it'), ('command', 'a command to the bridge'), ('stopped', 'broken off by /stop'), ('part_before', 'waits for the part before it'), ('too_long', 'longer than the platform can carry'), ('too_old', 'expired: too old to be sent now'), ('no_reply', 'reply address used up'), ('permanent', 'rejected (permanent)'), ('configuration', 'configuration error'), ('tries_spent', 'all tries failed'), ('unknown', 'no response – may have been delivered'), ('content', 'this cannot be sent here'), ('internal_error', 'internal error'), ('partial', 'accepted, but not for everyone or not in full'), ('no_answer', 'agent gave no reply'), ('no_endpoint', 'the webhook was deleted'), ('window', 'WeChat allows no more until the person writes again'), ('merged', 'sent in one message with another part'), ('read_on', 'asked for the rest of an answer'), ('unread', 'the person never asked for the rest'), ('gone', 'the person does not follow the account any more'), ('review', 'the content check objects: a person decides'), ('too_many_turns', 'more turns a minute than this person may have'), ('checking', 'the content check is not finished')], default='', max_length=16, verbose_name='reason'),
        ),
        migrations.AlterField(
            model_name='delivery',
            name='state',
            field=models.CharField(choices=[('pending', 'waiting'), ('sending', 'on its way'), ('delivered', 'delivered'), ('held', 'on hold'), ('skipped', 'skipped'), ('dead', 'failed'), ('uncertain', 'uncertain')], default='pending', max_length=9, verbose_name='state'),
        ),
        migrations.AlterField(
            model_name='incident',
            name='told_over_at',
            field=models.DateTimeField(null=True, verbose_name='recovery alert sent'),
        ),
        migrations.AlterField(
            model_name='route',
            name='peer_kind',
            field=models.CharField(blank=True, choices=[('', 'groups and persons'), ('direct', 'person'), ('group', 'group')], default='', max_length=8, verbose_name='who'),
        ),
        migrations.AlterField(
            model_name='route',
            name='trigger_words',
            field=models.TextField(blank=True, help_text='One a line, for answers that depend on a word. A word at the beginning is cut off the text.', verbose_name='words'),
        ),
    ]
