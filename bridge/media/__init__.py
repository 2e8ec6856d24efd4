"""Attachments: fetched from the platform, stored, uploaded again."""
