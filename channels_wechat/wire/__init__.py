"""How bytes go out to a platform and come in from it."""
