"""The statements of reply windows. All values of a change are computed in the row, so that no lock is held between statements."""

from __future__ import annotations

# More than any window ever granted, so that no use is forgotten while it matters.
USES_KEPT = 20
# What leaves in a window's last moments would arrive when it is over.
MARGIN_SECONDS = 2

# Open windows, found by the unique constraint on account and peer: what is left of one that is still open counts on where that is more, and
# what was sent since the person acted is taken off what the action grants. Takes the columns as lists, in which each person stands once.
# Returns nothing.
OPEN_WINDOWS = """
INSERT INTO accounts_replywindow AS old (account_id, peer_id, "left", until, last_action_at, sent_times)
SELECT given.account_id, given.peer_id, given.count, given.until, given.heard, '{}'
FROM unnest(%s::bigint[], %s::text[], %s::int[], %s::timestamptz[], %s::timestamptz[])
  AS given(account_id, peer_id, count, until, heard)
ORDER BY given.account_id, given.peer_id
ON CONFLICT (account_id, peer_id) DO UPDATE SET
  "left" = greatest(
    CASE WHEN old.until > excluded.last_action_at THEN old."left" ELSE 0 END,
    excluded."left" - (SELECT count(*) FROM unnest(old.sent_times) AS used WHERE used > excluded.last_action_at)),
  until = greatest(old.until, excluded.until),
  last_action_at = greatest(old.last_action_at, excluded.last_action_at)"""
# Take one message of a window that is open and not empty, found by the unique constraint; changes one row, or none.
TAKE = f"""
UPDATE accounts_replywindow
SET "left" = "left" - 1, sent_times = (sent_times || %(now)s::timestamptz)[cardinality(sent_times) + 2 - {USES_KEPT}:]
WHERE account_id = %(account)s AND peer_id = %(peer)s AND "left" > 0 AND until > %(now)s + interval '{MARGIN_SECONDS} s'"""  # noqa: S608  constants
# Give back the message that was taken at the moment `used`, found by the unique constraint, unless the person acted since; changes one row,
# or none.
GIVE_BACK = """
UPDATE accounts_replywindow SET "left" = "left" + 1, sent_times = array_remove(sent_times, %(used)s::timestamptz)
WHERE account_id = %(account)s AND peer_id = %(peer)s AND %(used)s = ANY(sent_times) AND last_action_at <= %(used)s"""
# Leave nothing of a window, found by the unique constraint, unless the person acted since `asked`. It then counts as if as many messages as
# it remembers had left at that moment, so that an action that is heard of later, but came before, grants nothing. Changes one row, or none.
MARK_EMPTY = f"""
UPDATE accounts_replywindow SET "left" = 0, sent_times = array_fill(%(asked)s::timestamptz, ARRAY[{USES_KEPT}])
WHERE account_id = %(account)s AND peer_id = %(peer)s AND last_action_at <= %(asked)s"""  # noqa: S608  constants
