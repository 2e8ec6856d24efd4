"""Every table of this app. Why each index is there stands beside it in `bridge/models`."""

import accounts.fields
import bridge.models.messages
import bridge.models.webhooks
import django.contrib.postgres.fields
import django.contrib.postgres.indexes
import django.db.models.deletion
import django.db.models.fields.json
import django.db.models.functions.comparison
import django.db.models.functions.text
import django.utils.timezone
import uuid
from django.conf import settings
from django.contrib.postgres.operations import TrigramExtension
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('accounts', '0001_initial'),
        ('openclaw', '0001_initial'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        # Deliveries count their place in a lane across all processes.
        migrations.RunSQL("CREATE SEQUENCE bridge_delivery_seq", "DROP SEQUENCE bridge_delivery_seq"),
        # Search by parts of words: the indexes `*_words` and `message_text`.
        TrigramExtension(),
        migrations.CreateModel(
            name='Conversation',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('peer_kind', models.CharField(choices=[('direct', 'person'), ('group', 'group')], max_length=8, verbose_name='kind')),
                ('peer_id', models.CharField(max_length=200, verbose_name='id on the platform')),
                ('title', models.CharField(blank=True, max_length=200, verbose_name='title')),
                ('mode', models.CharField(choices=[('bot', 'the agent answers'), ('paused', 'paused: new messages are stored but not answered'), ('human', 'staff answer')], default='bot', max_length=8, verbose_name='mode')),
                ('session_epoch', models.PositiveIntegerField(default=0, verbose_name='session')),
                ('last_inbound_at', models.DateTimeField(editable=False, null=True, verbose_name='last message')),
                ('created_at', models.DateTimeField(auto_now_add=True, verbose_name='created')),
                ('account', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='conversations', to='accounts.channelaccount', verbose_name='account')),
            ],
            options={
                'verbose_name': 'conversation',
                'verbose_name_plural': 'conversations',
                'ordering': [models.OrderBy(models.F('last_inbound_at'), descending=True, nulls_last=True), '-id'],
                'permissions': [('pause_conversation', 'Can pause a conversation, take it over and begin a new session')],
            },
        ),
        migrations.CreateModel(
            name='Delivery',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('target', models.CharField(choices=[('agent', 'agent'), ('channel', 'WeChat'), ('webhook', 'webhook')], max_length=8, verbose_name='to')),
                ('carrier', models.CharField(choices=[('worker', 'worker'), ('connector', 'connector'), ('http_reply', 'stream'), ('webhook', 'webhooks')], default='worker', max_length=10)),
                ('lane', models.CharField(max_length=60, verbose_name='lane')),
                ('seq', models.BigIntegerField(db_default=models.Func(models.Value('bridge_delivery_seq'), function='nextval'), editable=False)),
                ('part', models.PositiveSmallIntegerField(default=0, verbose_name='part')),
                ('payload', models.JSONField(default=dict, verbose_name='payload')),
                ('fingerprint', models.CharField(blank=True, default='', max_length=64)),
                ('state', models.CharField(choices=[('pending', 'waiting'), ('sending', 'on its way'), ('delivered', 'delivered'), ('held', 'on hold'), ('skipped', 'skipped'), ('dead', 'failed'), ('uncertain', 'uncertain')], default='pending', max_length=9, verbose_name='state')),
                ('reason', models.CharField(blank=True, choices=[('no_route', 'no mapping for this group or person'), ('route_disabled', 'the mapping is disabled'), ('not_addressed', 'the bot was not addressed'), ('no_trigger', 'no trigger word in the text'), ('sender', 'this sender is not allowed'), ('paused', 'the conversation is paused'), ('human', 'staff answer this conversation'), ('event', 'an event, not a message'), ('unsupported', 'unsupported message type'), ('no_sender', 'no sender given'), ('empty', 'empty message'), ('command', 'a command to the bridge'), ('stopped', 'stopped by /stop'), ('part_before', 'waits for the part before it'), ('too_long', 'longer than the platform can carry'), ('too_old', 'expired: too old to be sent now'), ('no_reply', 'reply address used up'), ('permanent', 'rejected (permanent)'), ('configuration', 'configuration error'), ('tries_spent', 'all attempts failed'), ('unknown', 'no response – may have been delivered'), ('content', 'unsupported content'), ('internal_error', 'internal error'), ('partial', 'accepted only in part'), ('no_answer', 'agent gave no reply'), ('no_endpoint', 'the webhook was deleted'), ('window', 'WeChat allows no more until the person writes again'), ('merged', 'sent in one message with another part'), ('read_on', 'asked for the rest of an answer'), ('unread', 'the person never asked for the rest'), ('gone', 'the person does not follow the account any more'), ('review', 'awaiting your decision (content check)'), ('own', 'said by the account itself'), ('too_many_turns', 'too many turns a minute'), ('checking', 'content check running')], default='', max_length=16, verbose_name='reason')),
                ('code', models.CharField(blank=True, default='', max_length=64, verbose_name='code')),
                ('code_params', models.JSONField(blank=True, default=dict)),
                ('tries', models.PositiveIntegerField(default=0, verbose_name='attempts')),
                ('run_number', models.PositiveIntegerField(default=0)),
                ('possibly_twice', models.BooleanField(db_default=False, default=False, verbose_name='possibly twice')),
                ('replays', models.PositiveIntegerField(default=0, verbose_name='replays')),
                ('due_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='due')),
                ('turn_at', models.DateTimeField(null=True)),
                ('stopped_at', models.DateTimeField(null=True)),
                ('lease_until', models.DateTimeField(null=True)),
                ('holder', models.CharField(blank=True, default='', max_length=100)),
                ('dedup_until', models.DateTimeField(null=True)),
                ('remote_id', models.CharField(blank=True, default='', max_length=200, verbose_name='platform id')),
                ('queued_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='queued')),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='created')),
                ('finished_at', models.DateTimeField(null=True, verbose_name='finished')),
                ('dismissed_at', models.DateTimeField(null=True, verbose_name='dismissed')),
                ('recalled_at', models.DateTimeField(null=True, verbose_name='recalled')),
                ('reviewed_at', models.DateTimeField(null=True, verbose_name='reviewed')),
                ('account', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='deliveries', to='accounts.channelaccount')),
                ('dismissed_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('gateway', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='deliveries', to='openclaw.gateway')),
            ],
            options={
                'verbose_name': 'delivery',
                'verbose_name_plural': 'deliveries',
                'ordering': ['-id'],
                'permissions': [('replay_delivery', 'Can replay a delivery'), ('dismiss_delivery', 'Can dismiss a delivery')],
            },
        ),
        migrations.CreateModel(
            name='Attempt',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('number', models.PositiveIntegerField(verbose_name='number')),
                ('started_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='started')),
                ('finished_at', models.DateTimeField(null=True, verbose_name='finished')),
                ('outcome', models.CharField(blank=True, choices=[('ok', 'done'), ('error', 'refused'), ('unknown', 'no answer'), ('interrupted', 'the process was lost')], default='', max_length=12, verbose_name='outcome')),
                ('code', models.CharField(blank=True, default='', max_length=64, verbose_name='code')),
                ('code_params', models.JSONField(blank=True, default=dict)),
                ('request', models.JSONField(default=dict, verbose_name='request')),
                ('response', models.JSONField(default=dict, verbose_name='response')),
                ('usage', models.JSONField(null=True, verbose_name='usage')),
                ('possibly_twice', models.BooleanField(db_default=False, default=False, verbose_name='possibly twice')),
                ('delivery', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='attempts', to='bridge.delivery')),
            ],
            options={
                'verbose_name': 'attempt',
                'verbose_name_plural': 'attempts',
                'ordering': ['delivery', 'number'],
            },
        ),
        migrations.CreateModel(
            name='Incident',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('cause', models.CharField(max_length=100, verbose_name='cause')),
                ('code', models.CharField(max_length=64, verbose_name='what')),
                ('code_params', models.JSONField(default=dict)),
                ('opened_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='since')),
                ('closed_at', models.DateTimeField(null=True, verbose_name='resolved')),
                ('notified_at', models.DateTimeField(null=True, verbose_name='alert sent')),
                ('resolved_notified_at', models.DateTimeField(null=True, verbose_name='recovery alert sent')),
                ('alert_errors', models.JSONField(default=list)),
            ],
            options={
                'verbose_name': 'incident',
                'verbose_name_plural': 'incidents',
                'ordering': ['-opened_at'],
                'indexes': [models.Index(condition=models.Q(('notified_at', None), models.Q(('closed_at__isnull', False), ('resolved_notified_at', None)), _connector='OR'), fields=['id'], name='incident_untold')],
                'constraints': [models.UniqueConstraint(condition=models.Q(('closed_at', None)), fields=('cause',), name='incident_one_open')],
            },
        ),
        migrations.CreateModel(
            name='Message',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('uuid', models.UUIDField(default=uuid.uuid4, editable=False, unique=True)),
                ('peer_kind', models.CharField(choices=[('direct', 'person'), ('group', 'group')], max_length=8, verbose_name='peer kind')),
                ('peer_id', models.CharField(max_length=200, verbose_name='peer')),
                ('direction', models.CharField(choices=[('in', 'in'), ('out', 'out')], max_length=3, verbose_name='direction')),
                ('source', models.CharField(choices=[('channel', 'WeChat'), ('agent', 'agent'), ('api', 'API'), ('staff', 'staff'), ('bridge', 'the bridge'), ('schedule', 'schedule')], max_length=8, verbose_name='source')),
                ('client', models.CharField(blank=True, default='', max_length=100)),
                ('idempotency_key', models.CharField(max_length=200, verbose_name='platform id')),
                ('request_hash', models.CharField(blank=True, default='', max_length=64)),
                ('kind', models.CharField(default='text', max_length=32, verbose_name='type')),
                ('text', models.TextField(blank=True, verbose_name='text')),
                ('data', models.JSONField(default=dict)),
                ('sender', models.CharField(blank=True, max_length=200, verbose_name='sender')),
                ('addressed', models.BooleanField(default=True, verbose_name='addressed to the bot')),
                ('raw', models.JSONField(default=dict)),
                ('reply_address', accounts.fields.EncryptedTextField(blank=True, default='', row='uuid')),
                ('reply_until', models.DateTimeField(null=True)),
                ('occurred_at', models.DateTimeField(null=True)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='received')),
                ('routed_at', models.DateTimeField(null=True)),
                ('account', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='messages', to='accounts.channelaccount')),
                ('conversation', models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='messages', to='bridge.conversation')),
                ('reply_to', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='replies', to='bridge.message')),
            ],
            options={
                'verbose_name': 'message',
                'verbose_name_plural': 'messages',
                'ordering': ['-id'],
                'permissions': [('send_message', 'Can send a message'), ('send_to_many', 'Can send to several people, or to everybody, at once'), ('read_content', 'Can read what messages say')],
            },
        ),
        migrations.AddField(
            model_name='delivery',
            name='message',
            field=models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='deliveries', to='bridge.message'),
        ),
        migrations.CreateModel(
            name='Attachment',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('owner', models.CharField(blank=True, default='', editable=False, max_length=100)),
                ('owner_until', models.DateTimeField(editable=False, null=True)),
                ('fence', models.PositiveBigIntegerField(default=0, editable=False)),
                ('uuid', models.UUIDField(default=uuid.uuid4, editable=False, unique=True)),
                ('position', models.PositiveSmallIntegerField(default=0)),
                ('kind', models.CharField(max_length=8, verbose_name='kind')),
                ('name', models.CharField(blank=True, max_length=255, verbose_name='name')),
                ('mime', models.CharField(blank=True, max_length=100, verbose_name='type')),
                ('size', models.BigIntegerField(default=0, verbose_name='size')),
                ('file', models.FileField(blank=True, max_length=200, upload_to=bridge.models.messages.attachment_path)),
                ('source', models.TextField(blank=True, default='')),
                ('fallback', models.TextField(blank=True, db_default='', default='')),
                ('key', accounts.fields.EncryptedTextField(blank=True, default='', row='uuid')),
                ('handle', models.TextField(blank=True, default='')),
                ('handle_at', models.DateTimeField(null=True)),
                ('state', models.CharField(choices=[('pending', 'being fetched'), ('ready', 'stored'), ('failed', 'could not be fetched')], default='pending', max_length=8, verbose_name='state')),
                ('code', models.CharField(blank=True, default='', max_length=64, verbose_name='code')),
                ('code_params', models.JSONField(blank=True, default=dict)),
                ('tries', models.PositiveSmallIntegerField(default=0)),
                ('due_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('check_trace', models.CharField(blank=True, db_default='', default='', max_length=100)),
                ('verdict', models.CharField(blank=True, db_default='', default='', max_length=8)),
                ('message', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='attachments', to='bridge.message')),
            ],
            options={
                'verbose_name': 'attachment',
                'verbose_name_plural': 'attachments',
                'ordering': ['message', 'position'],
            },
        ),
        migrations.CreateModel(
            name='Route',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('peer_kind', models.CharField(blank=True, choices=[('', 'groups and persons'), ('direct', 'person'), ('group', 'group')], default='', max_length=8, verbose_name='who')),
                ('peer_id', models.CharField(blank=True, help_text="The platform's id. Empty: all of this kind.", max_length=200, verbose_name='group or person')),
                ('agent_id', models.CharField(max_length=64, verbose_name='agent')),
                ('scope', models.CharField(choices=[('conversation', 'one memory for the whole conversation'), ('sender', 'one memory for each person in it'), ('shared', 'one memory for everything mapped to this agent')], default='conversation', max_length=16, verbose_name='memory')),
                ('trigger', models.CharField(choices=[('all', 'every message'), ('mention', 'when the bot is addressed'), ('prefix', 'when the text begins with a word'), ('keyword', 'when the text contains a word')], default='all', max_length=16, verbose_name='answers')),
                ('trigger_words', models.TextField(blank=True, help_text='One per line. A trigger word at the beginning of a text is removed from it.', verbose_name='words')),
                ('allowed_senders', models.TextField(blank=True, help_text='User ids, one a line. Empty: everyone.', verbose_name='allowed senders')),
                ('commands_for_all', models.BooleanField(default=False, help_text="/stop stops anybody's turn in the group, and /new clears a memory that several conversations share. Otherwise /stop stops only one's own turn, and a shared memory stays.", verbose_name='commands apply to everybody')),
                ('allow_mention_all', models.BooleanField(default=False, help_text="The agent's @all calls the whole group.", verbose_name='may mention everybody')),
                ('allow_cards', models.BooleanField(default=False, help_text="A template_card block in the agent's answer becomes a card with buttons.", verbose_name='may send cards')),
                ('allow_links', models.BooleanField(default=False, help_text='Otherwise a link is shown as its text and its full address.', verbose_name='may show links as text')),
                ('enabled', models.BooleanField(default=True, verbose_name='enabled')),
                ('note', models.CharField(blank=True, max_length=200, verbose_name='note')),
                ('account', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='routes', to='accounts.channelaccount', verbose_name='account')),
                ('gateway', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='routes', to='openclaw.gateway', verbose_name='gateway')),
            ],
            options={
                'verbose_name': 'mapping',
                'verbose_name_plural': 'mappings',
                'ordering': ['account', 'peer_kind', 'peer_id'],
            },
        ),
        migrations.AddField(
            model_name='delivery',
            name='route',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='deliveries', to='bridge.route'),
        ),
        migrations.CreateModel(
            name='SessionEpoch',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('key', models.CharField(max_length=200, unique=True)),
                ('epoch', models.PositiveIntegerField(default=0)),
                ('conversation', models.ForeignKey(null=True, on_delete=django.db.models.deletion.CASCADE, related_name='sessions', to='bridge.conversation')),
            ],
            options={
                'verbose_name': 'session',
                'verbose_name_plural': 'sessions',
            },
        ),
        migrations.CreateModel(
            name='WebhookEndpoint',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('key', models.UUIDField(default=uuid.uuid4, editable=False, unique=True)),
                ('name', models.CharField(max_length=100, verbose_name='name')),
                ('url', accounts.fields.EncryptedTextField(row='key', verbose_name='address')),
                ('events', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(choices=[('message.received', 'a message was received'), ('delivery.dead', 'a delivery failed or is uncertain'), ('account.state', 'an account works, fails or stops')], max_length=32), size=None, verbose_name='events')),
                ('enabled', models.BooleanField(default=True, verbose_name='enabled')),
                ('disabled_code', models.CharField(blank=True, default='', editable=False, max_length=64)),
                ('secret', accounts.fields.EncryptedTextField(default=bridge.models.webhooks.new_secret, editable=False, row='key')),
                ('previous_secret', accounts.fields.EncryptedTextField(blank=True, default='', editable=False, row='key')),
                ('previous_until', models.DateTimeField(editable=False, null=True, verbose_name='the previous secret signs until')),
                ('created_at', models.DateTimeField(auto_now_add=True, verbose_name='created')),
                ('updated_at', models.DateTimeField(auto_now=True, verbose_name='changed')),
                ('account', models.ForeignKey(blank=True, help_text='Only what happens to this account. Empty: all accounts.', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='webhooks', to='accounts.channelaccount', verbose_name='account')),
            ],
            options={
                'verbose_name': 'webhook',
                'verbose_name_plural': 'webhooks',
                'ordering': ['name', 'id'],
            },
        ),
        migrations.AddField(
            model_name='delivery',
            name='endpoint',
            field=models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='deliveries', to='bridge.webhookendpoint'),
        ),
        migrations.CreateModel(
            name='Contact',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('external_id', models.CharField(max_length=200, verbose_name='id on the platform')),
                ('name', models.CharField(blank=True, max_length=200, verbose_name='name')),
                ('subscribed', models.BooleanField(null=True, verbose_name='follows')),
                ('turns_until', models.DateTimeField(editable=False, null=True)),
                ('refused_at', models.DateTimeField(editable=False, null=True)),
                ('name_fetched_at', models.DateTimeField(editable=False, null=True, verbose_name='looked up')),
                ('erasure_requested_at', models.DateTimeField(editable=False, null=True)),
                ('created_at', models.DateTimeField(auto_now_add=True, verbose_name='created')),
                ('account', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='contacts', to='accounts.channelaccount', verbose_name='account')),
            ],
            options={
                'verbose_name': 'contact',
                'verbose_name_plural': 'contacts',
                'indexes': [models.Index(condition=models.Q(('name_fetched_at', None)), fields=['account'], name='contact_to_look_up'), models.Index(condition=models.Q(('erasure_requested_at__isnull', False)), fields=['erasure_requested_at'], name='contact_to_erase'), django.contrib.postgres.indexes.GinIndex(django.contrib.postgres.indexes.OpClass(django.db.models.functions.text.Upper('name'), name='gin_trgm_ops'), django.contrib.postgres.indexes.OpClass(django.db.models.functions.text.Upper('external_id'), name='gin_trgm_ops'), name='contact_words')],
                'constraints': [models.UniqueConstraint(fields=('account', 'external_id'), name='contact_external_id')],
            },
        ),
        migrations.AddIndex(
            model_name='conversation',
            index=models.Index(models.OrderBy(models.F('last_inbound_at'), descending=True, nulls_last=True), models.OrderBy(models.F('id'), descending=True), name='conversation_newest'),
        ),
        migrations.AddIndex(
            model_name='conversation',
            index=models.Index(fields=['peer_id'], name='conversation_peer_id'),
        ),
        migrations.AddIndex(
            model_name='conversation',
            index=django.contrib.postgres.indexes.GinIndex(django.contrib.postgres.indexes.OpClass(django.db.models.functions.text.Upper('title'), name='gin_trgm_ops'), django.contrib.postgres.indexes.OpClass(django.db.models.functions.text.Upper('peer_id'), name='gin_trgm_ops'), name='conversation_words'),
        ),
        migrations.AddConstraint(
            model_name='conversation',
            constraint=models.UniqueConstraint(fields=('account', 'peer_kind', 'peer_id'), name='conversation_peer'),
        ),
        migrations.AddConstraint(
            model_name='attempt',
            constraint=models.UniqueConstraint(fields=('delivery', 'number'), name='attempt_number'),
        ),
        migrations.AddConstraint(
            model_name='attempt',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('finished_at', None), ('outcome', '')), models.Q(('finished_at__isnull', False), models.Q(('outcome', ''), _negated=True)), _connector='OR'), name='attempt_outcome_iff_finished'),
        ),
        migrations.AddIndex(
            model_name='message',
            index=models.Index(condition=models.Q(('direction', 'in'), ('routed_at', None)), fields=['account', 'peer_kind', 'peer_id', 'id'], name='message_unrouted'),
        ),
        migrations.AddIndex(
            model_name='message',
            index=models.Index(fields=['conversation', '-id'], name='message_transcript'),
        ),
        migrations.AddIndex(
            model_name='message',
            index=models.Index(fields=['created_at', 'direction'], name='message_day'),
        ),
        migrations.AddIndex(
            model_name='message',
            index=models.Index(fields=['account', 'created_at'], name='message_age'),
        ),
        migrations.AddIndex(
            model_name='message',
            index=models.Index(fields=['idempotency_key'], name='message_platform_id'),
        ),
        migrations.AddIndex(
            model_name='message',
            index=models.Index(fields=['sender', '-id'], name='message_sender'),
        ),
        migrations.AddIndex(
            model_name='message',
            index=django.contrib.postgres.indexes.GinIndex(django.contrib.postgres.indexes.OpClass(django.db.models.functions.text.Upper('text'), name='gin_trgm_ops'), fastupdate=True, gin_pending_list_limit=1024, name='message_text'),
        ),
        migrations.AddIndex(
            model_name='message',
            index=models.Index(condition=models.Q(('kind', 'text'), _negated=True), fields=['kind', '-id'], name='message_kind'),
        ),
        migrations.AddIndex(
            model_name='message',
            index=models.Index(condition=models.Q(('source__in', ('channel', 'agent')), _negated=True), fields=['source', '-id'], name='message_source'),
        ),
        migrations.AddConstraint(
            model_name='message',
            constraint=models.UniqueConstraint(fields=('account', 'direction', 'source', 'client', 'idempotency_key'), name='message_idempotency'),
        ),
        migrations.AddIndex(
            model_name='attachment',
            index=models.Index(condition=models.Q(('state', 'pending')), fields=['due_at'], name='attachment_due'),
        ),
        migrations.AddIndex(
            model_name='attachment',
            index=models.Index(condition=models.Q(('check_trace', ''), _negated=True), fields=['check_trace'], name='attachment_check'),
        ),
        migrations.AddConstraint(
            model_name='attachment',
            constraint=models.UniqueConstraint(fields=('message', 'position'), name='attachment_position'),
        ),
        migrations.AddConstraint(
            model_name='attachment',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('state', 'ready'), _negated=True), models.Q(('file', ''), _negated=True), _connector='OR'), name='attachment_ready_has_file'),
        ),
        migrations.AddConstraint(
            model_name='route',
            constraint=models.UniqueConstraint(fields=('account', 'peer_kind', 'peer_id'), name='route_one_per_peer', violation_error_message='This group or person is mapped already.'),
        ),
        migrations.AddConstraint(
            model_name='route',
            constraint=models.CheckConstraint(condition=models.Q(('peer_id', ''), models.Q(('peer_kind', ''), _negated=True), _connector='OR'), name='route_peer_id_needs_kind', violation_error_message="Say whether the id is a group's or a person's."),
        ),
        migrations.AddConstraint(
            model_name='webhookendpoint',
            constraint=models.CheckConstraint(condition=models.Q(('events__len__gt', 0)), name='webhook_events_given'),
        ),
        migrations.AddConstraint(
            model_name='webhookendpoint',
            constraint=models.CheckConstraint(condition=models.Q(('enabled', False), ('disabled_code', ''), _connector='OR'), name='webhook_reason_only_when_off'),
        ),
        migrations.AddConstraint(
            model_name='webhookendpoint',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('previous_secret', ''), ('previous_until', None)), models.Q(models.Q(('previous_secret', ''), _negated=True), ('previous_until__isnull', False)), _connector='OR'), name='webhook_previous_secret_iff_until'),
        ),
        migrations.AddIndex(
            model_name='delivery',
            index=models.Index(models.F('carrier'), django.db.models.functions.comparison.Coalesce('gateway', 0), django.db.models.functions.comparison.Coalesce('account', 0), django.db.models.functions.comparison.Greatest('due_at', 'turn_at'), condition=models.Q(('state', 'pending')), name='delivery_fair'),
        ),
        migrations.AddIndex(
            model_name='delivery',
            index=models.Index(condition=models.Q(('state', 'pending')), fields=['carrier', 'due_at'], name='delivery_due'),
        ),
        migrations.AddIndex(
            model_name='delivery',
            index=models.Index(condition=models.Q(('state__in', ('pending', 'sending', 'held'))), fields=['lane', 'seq'], name='delivery_lane'),
        ),
        migrations.AddIndex(
            model_name='delivery',
            index=models.Index(condition=models.Q(('state', 'sending')), fields=['lease_until'], name='delivery_leased'),
        ),
        migrations.AddIndex(
            model_name='delivery',
            index=models.Index(condition=models.Q(('dismissed_at', None), ('state__in', ('dead', 'uncertain'))), fields=['-id'], include=('state', 'reason', 'code', 'account', 'endpoint', 'target', 'finished_at'), name='delivery_failures'),
        ),
        migrations.AddIndex(
            model_name='delivery',
            index=models.Index(condition=models.Q(('dismissed_at', None), ('state__in', ('dead', 'uncertain'))), fields=['lane'], name='delivery_failed_lanes'),
        ),
        migrations.AddIndex(
            model_name='delivery',
            index=models.Index(condition=models.Q(('state__in', ('skipped', 'dead', 'uncertain'))), fields=['state', '-id'], name='delivery_state'),
        ),
        migrations.AddIndex(
            model_name='delivery',
            index=models.Index(condition=models.Q(('reason', ''), _negated=True), fields=['reason', '-id'], name='delivery_reason'),
        ),
        migrations.AddIndex(
            model_name='delivery',
            index=models.Index(condition=models.Q(('finished_at__isnull', False), ('target', 'webhook')), fields=['finished_at'], name='delivery_hook_age'),
        ),
        migrations.AddIndex(
            model_name='delivery',
            index=models.Index(condition=models.Q(('target', 'webhook')), fields=['-id'], name='delivery_hooks'),
        ),
        migrations.AddIndex(
            model_name='delivery',
            index=models.Index(django.db.models.fields.json.KeyTextTransform('id', django.db.models.fields.json.KeyTransform('conversation', django.db.models.fields.json.KeyTransform('data', django.db.models.fields.json.KeyTransform('body', 'payload')))), condition=models.Q(('target', 'webhook')), name='delivery_told'),
        ),
        migrations.AddIndex(
            model_name='delivery',
            index=models.Index(fields=['created_at'], name='delivery_day'),
        ),
        migrations.AddIndex(
            model_name='delivery',
            index=models.Index(condition=models.Q(('state', 'held')), fields=['lane', '-id'], name='delivery_held'),
        ),
        migrations.AddIndex(
            model_name='delivery',
            index=models.Index(condition=models.Q(('dismissed_at__isnull', False)), fields=['-id'], name='delivery_dismissed'),
        ),
        migrations.AddIndex(
            model_name='delivery',
            index=models.Index(condition=models.Q(('remote_id', ''), _negated=True), fields=['remote_id'], name='delivery_remote_id'),
        ),
        migrations.AddIndex(
            model_name='delivery',
            index=models.Index(django.db.models.fields.json.KeyTextTransform('session_key', 'payload'), condition=models.Q(('target', 'agent')), name='delivery_session'),
        ),
        migrations.AddIndex(
            model_name='delivery',
            index=models.Index(condition=models.Q(('fingerprint', ''), _negated=True), fields=['lane', 'fingerprint'], name='delivery_repeats'),
        ),
        migrations.AddConstraint(
            model_name='delivery',
            constraint=models.UniqueConstraint(condition=models.Q(('state', 'sending')), fields=('lane',), name='delivery_one_sending_per_lane'),
        ),
        migrations.AddConstraint(
            model_name='delivery',
            constraint=models.UniqueConstraint(fields=('message', 'target', 'part'), name='delivery_part'),
        ),
        migrations.AddConstraint(
            model_name='delivery',
            constraint=models.UniqueConstraint(condition=models.Q(('endpoint__isnull', False)), fields=('endpoint', 'fingerprint'), name='delivery_event_once'),
        ),
        migrations.AddConstraint(
            model_name='delivery',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('lease_until__isnull', False), ('state', 'sending')), models.Q(models.Q(('state', 'sending'), _negated=True), ('lease_until', None)), _connector='OR'), name='delivery_lease_iff_sending'),
        ),
        migrations.AddConstraint(
            model_name='delivery',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('finished_at__isnull', False), ('state__in', ('delivered', 'skipped', 'dead', 'uncertain'))), models.Q(models.Q(('state__in', ('delivered', 'skipped', 'dead', 'uncertain')), _negated=True), ('finished_at', None)), _connector='OR'), name='delivery_finished_iff_final'),
        ),
        migrations.AddConstraint(
            model_name='delivery',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('state__in', ('dead', 'skipped', 'held', 'uncertain')), _negated=True), models.Q(('reason', ''), _negated=True), _connector='OR'), name='delivery_reason_given'),
        ),
        migrations.AddConstraint(
            model_name='delivery',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('message', None), ('target', 'webhook')), models.Q(models.Q(('target', 'webhook'), _negated=True), ('message__isnull', False)), _connector='OR'), name='delivery_message_iff_not_webhook'),
        ),
        # How frequent a word is decides whether the index is used or the newest rows are read. The usual 100 samples tell it too roughly.
        migrations.RunSQL("ALTER INDEX message_text ALTER COLUMN 1 SET STATISTICS 500", migrations.RunSQL.noop),
    ]
