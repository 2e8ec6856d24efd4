"""What `manage.py prepare` says of a database that other releases migrated. Everything else it does is in tests/production."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

from bridge.management.commands import prepare

pytestmark = pytest.mark.django_db

CASES = {
    "before": (
        [("bridge", "0002_permissions"), ("bridge", "0016_plain_words"), ("accounts", "0013_plain_words")],
        r"from before the first release.*Nothing in it was changed.*createdb NAME.*DATABASE_URL.*Keep.*FIELD_KEYS",
    ),
    "later": (
        [("bridge", "9002_later"), ("openclaw", "9001_later")],
        r"by a later release: this one does not know bridge.9002_later, openclaw.9001_later\..*backup",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_database_that_others_migrated_is_refused_unchanged(case: str) -> None:
    applied, expected = CASES[case]
    recorder = MigrationRecorder(connection)
    for app, name in applied:
        recorder.record_applied(app, name)
    recorder.record_unapplied("accounts", "0001_initial")  # what is missing is not added before the look
    names = set(recorder.applied_migrations())
    with pytest.raises(CommandError, match=expected):
        call_command("prepare")
    assert set(recorder.applied_migrations()) == names


def test_a_package_that_was_taken_out_is_no_reason_to_refuse() -> None:
    MigrationRecorder(connection).record_applied("somebody_elses", "0009_more")
    prepare.check_applied_migrations()
