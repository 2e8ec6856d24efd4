"""Ids in the platform's form."""

import secrets


def new_msgid() -> str:
    """Return base64 text, as the platform's AI bot ids are."""
    return "CAIQ" + secrets.token_urlsafe(18) + "="
