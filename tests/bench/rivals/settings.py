"""Django as it comes: our models and database, its default middleware, a connection for each request."""

from bridge.settings import *  # noqa: F403

ROOT_URLCONF = "tests.bench.rivals.site"
DATABASES["default"]["OPTIONS"].pop("pool", None)  # noqa: F405
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
