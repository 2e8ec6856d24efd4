"""WeCom's ids of people are stored in lower case from now on; rows that differed in nothing else become one."""

from django.db import migrations

# A member's or customer's encrypted id: case counts there.
PLAIN = r"{0} <> lower({0}) AND {0} !~ '(^|\|)w[om][A-Za-z0-9_-]{{20,}}($|\|)'"
WECOM = "account_id IN (SELECT id FROM accounts_channelaccount WHERE kind IN ('wecom_app', 'wecom_aibot'))"
# Of rows that become one, the one in lower case stays, else the newest.
SAME = """
CREATE TEMPORARY TABLE {table}_same ON COMMIT DROP AS
SELECT id, first_value(id) OVER (PARTITION BY account_id, lower({column}) ORDER BY {column} = lower({column}) DESC, id DESC) AS kept
FROM {table} WHERE {where} AND {wecom} AND {column} !~ '(^|\\|)w[om][A-Za-z0-9_-]{{20,}}($|\\|)'"""
CONVERSATIONS = [
    SAME.format(table="bridge_conversation", column="peer_id", where="peer_kind = 'direct'", wecom=WECOM),
    "DELETE FROM bridge_conversation_same WHERE id = kept",
    """UPDATE bridge_message SET conversation_id = kept FROM bridge_conversation_same AS same
    WHERE conversation_id = same.id""",
    """UPDATE bridge_delivery SET lane = split_part(lane, ':', 1) || ':' || kept FROM bridge_conversation_same AS same
    WHERE lane IN ('in:' || same.id, 'out:' || same.id)""",
    """UPDATE bridge_conversation AS talk SET
      title = CASE WHEN talk.title = '' THEN other.title ELSE talk.title END,
      last_inbound_at = greatest(talk.last_inbound_at, other.last_inbound_at)
    FROM (SELECT kept, max(old.title) AS title, max(old.last_inbound_at) AS last_inbound_at
      FROM bridge_conversation_same AS same JOIN bridge_conversation AS old ON old.id = same.id GROUP BY kept) AS other
    WHERE talk.id = other.kept""",
    "DELETE FROM bridge_conversation USING bridge_conversation_same AS same WHERE bridge_conversation.id = same.id",
    f"UPDATE bridge_conversation SET peer_id = lower(peer_id) WHERE peer_kind = 'direct' AND {WECOM} AND {PLAIN.format('peer_id')}",
]
CONTACTS = [
    SAME.format(table="bridge_contact", column="external_id", where="true", wecom=WECOM),
    "DELETE FROM bridge_contact_same WHERE id = kept",
    """UPDATE bridge_contact AS contact SET name = old.name FROM bridge_contact_same AS same JOIN bridge_contact AS old ON old.id = same.id
    WHERE contact.id = same.kept AND contact.name = '' AND old.name <> ''""",
    "DELETE FROM bridge_contact USING bridge_contact_same AS same WHERE bridge_contact.id = same.id",
    f"UPDATE bridge_contact SET external_id = lower(external_id) WHERE {WECOM} AND {PLAIN.format('external_id')}",
]
MESSAGES = [
    f"UPDATE bridge_message SET peer_id = lower(peer_id) WHERE peer_kind = 'direct' AND {WECOM} AND {PLAIN.format('peer_id')}",
    f"UPDATE bridge_message SET sender = lower(sender) WHERE {WECOM} AND {PLAIN.format('sender')}",
]
# Two mappings of one person: that in lower case decides, the other is kept as it was and decides nothing any more.
ROUTES = [
    f"""UPDATE bridge_route AS route SET peer_id = lower(peer_id) WHERE peer_kind = 'direct' AND {WECOM} AND {PLAIN.format("peer_id")}
    AND NOT EXISTS (SELECT FROM bridge_route AS other WHERE other.account_id = route.account_id AND other.peer_kind = 'direct'
      AND other.id <> route.id AND lower(other.peer_id) = lower(route.peer_id) AND (other.peer_id = lower(other.peer_id) OR other.id > route.id))"""
]


def unify(apps, schema_editor):
    with schema_editor.connection.cursor() as cursor:
        # Constraints that wait for the end of the transaction would forbid the later steps.
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        for statement in (*CONVERSATIONS, *CONTACTS, *MESSAGES, *ROUTES):
            cursor.execute(statement)


class Migration(migrations.Migration):
    dependencies = [("bridge", "0013_attempt_usage"), ("accounts", "0007_texts_of_bots_become_sentences")]

    operations = [migrations.RunPython(unify, migrations.RunPython.noop)]
