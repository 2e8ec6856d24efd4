from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0008_one_name_for_each_account")]
    operations = [
        migrations.AddField(
            model_name="accesstoken",
            name="address",
            field=models.CharField(blank=True, default="", max_length=200),
        ),
        migrations.RunSQL(
            "UPDATE accounts_accesstoken token SET address = account.api_base_url"
            " FROM accounts_channelaccount account WHERE account.id = token.account_id",
            migrations.RunSQL.noop,
        ),
    ]
