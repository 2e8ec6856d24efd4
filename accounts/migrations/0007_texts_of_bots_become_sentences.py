from django.db import migrations

# The fields of an AI bot's credentials that became sentences of the account.
SENTENCE_OF = {"welcome": "welcome", "unmapped_text": "unmapped", "failure_text": "failed", "later_text": "later"}


def move(apps, schema_editor):
    for account in apps.get_model("accounts", "ChannelAccount").objects.filter(kind="wecom_aibot"):
        kept = {name: value for name, value in account.credentials.items() if name not in SENTENCE_OF}
        moved = {new: account.credentials[old] for old, new in SENTENCE_OF.items() if account.credentials.get(old)}
        if kept != account.credentials:
            account.sentences = {**moved, **account.sentences}
            account.credentials = kept
            account.save(update_fields=["credentials", "sentences"])


def move_back(apps, schema_editor):
    for account in apps.get_model("accounts", "ChannelAccount").objects.filter(kind="wecom_aibot"):
        texts = {old: account.sentences[new] for old, new in SENTENCE_OF.items() if account.sentences.get(new)}
        account.credentials = {**account.credentials, **texts}
        account.save(update_fields=["credentials"])


class Migration(migrations.Migration):
    dependencies = [("accounts", "0006_language_and_sentences")]

    operations = [migrations.RunPython(move, move_back)]
