from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone
from knox.models import AuthToken
from knox.settings import knox_settings

if TYPE_CHECKING:
    from django.core.management.base import CommandParser

MOST_DAYS = 3650


class Command(BaseCommand):
    help = "Make a token for the API and print it, this once: only its hash is kept. Revoke it in the admin, under API tokens."

    def add_arguments(self, parser: CommandParser) -> None:
        days = knox_settings.TOKEN_TTL.days
        parser.add_argument("user", help="name of the user whose rights the token has; one of its own for each script")
        parser.add_argument("--days", type=int, default=days, help=f"how long it is good for (default {days})")

    def handle(self, *args: Any, user: str, days: int, **options: Any) -> None:
        """The token alone goes to stdout, so that it can be piped into a file or a secret store."""
        if not 1 <= days <= MOST_DAYS:
            raise CommandError(f"--days must be from 1 to {MOST_DAYS}.")
        owner = User.objects.filter(username=user).first()
        if owner is None:
            raise CommandError(
                f"There is no user {user}. Add it in the admin under Staff, in the group with the rights it needs."
            )
        if not owner.is_active:
            raise CommandError(f"The user {user} is not active: its tokens would not be let in.")
        _row, token = AuthToken.objects.create(owner, expiry=timedelta(days=days))
        until = timezone.localtime(timezone.now() + timedelta(days=days))
        self.stderr.write(f"A token for {user}, good until {until:%Y-%m-%d}. It is shown only now:")
        self.stdout.write(token)
