from django.db import migrations, models
from django.db.models.functions import Lower


def rename_twins(apps, schema_editor):
    """The oldest of several accounts with one name keeps it; the others get the first free number behind it."""
    accounts = list(apps.get_model("accounts", "ChannelAccount").objects.defer("credentials").order_by("id"))
    taken = set()
    again = []
    for account in accounts:
        if account.name.lower() in taken:
            again.append(account)
        taken.add(account.name.lower())
    for account in again:
        number = 2
        while (name := f"{account.name[:90]} ({number})").lower() in taken:
            number += 1
        taken.add(name.lower())
        account.name = name
        account.save(update_fields=["name"])


class Migration(migrations.Migration):
    dependencies = [("accounts", "0007_texts_of_bots_become_sentences")]

    operations = [
        migrations.RunPython(rename_twins, migrations.RunPython.noop),
        # The rows that were renamed have deferred checks left, and a table with those takes no index in the same transaction.
        migrations.RunSQL("SET CONSTRAINTS ALL IMMEDIATE", migrations.RunSQL.noop),
        migrations.AddConstraint(
            model_name="channelaccount",
            constraint=models.UniqueConstraint(
                Lower("name"),
                name="account_name_once",
                violation_error_message="There is an account with this name already.",
            ),
        ),
    ]
