"""Settings: one file, fed by the environment. Every name here stands in `.env.example`; `bridge.runtime.conf.checks` says what is wrong."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from celery.schedules import crontab
from django.templatetags.static import static
from django.utils.translation import gettext_lazy as _

from bridge.runtime.conf.catalogues import compile_catalogues, locale_folders
from bridge.runtime.conf.environment import (
    choose_library_level,
    make_choice_parser,
    make_number_parser,
    parse_database,
    parse_days,
    parse_flag,
    parse_log_level,
    parse_mail_server,
    parse_time_zone,
    read_setting,
    split_words,
)

BASE_DIR = Path(__file__).resolve().parent.parent
OPENCLAW_ON_THIS_MACHINE = ["127.0.0.1:18789", "[::1]:18789", "localhost:18789"]

DEBUG = read_setting("DEBUG", parse_flag, False)
DEMO = read_setting("DEMO", parse_flag, False)
SECRET_KEY = read_setting("SECRET_KEY", str, "")
FIELD_KEYS: list[str] = read_setting("FIELD_KEYS", split_words, [])
PUBLIC_URL = read_setting("PUBLIC_URL", str, "").rstrip("/")
ALLOWED_HOSTS: list[str] = read_setting("ALLOWED_HOSTS", split_words, ["*"])
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL] if PUBLIC_URL.startswith(("http://", "https://")) else []
# Addresses or networks of the TLS proxies in front: only what they forward is believed. See `bridge.security.proxies`.
TRUSTED_PROXIES: list[str] = read_setting("TRUSTED_PROXIES", split_words, ["127.0.0.0/8", "::1"])
# What may be called though it is private, or without https, as `host:port`; without a port, 80 and 443 are meant; `host:*` is every port.
# The first list is for addresses that staff enter: gateways, API addresses, webhooks. The second is for addresses that a stranger can name:
# files that an agent or a message refers to, and where an AI bot's late answer goes.
ALLOWED_PRIVATE_HOSTS: list[str] = read_setting("ALLOWED_PRIVATE_HOSTS", split_words, OPENCLAW_ON_THIS_MACHINE)
ALLOWED_PRIVATE_MEDIA_HOSTS: list[str] = read_setting("ALLOWED_PRIVATE_MEDIA_HOSTS", split_words, [])

INSTALLED_APPS = [
    "unfold",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "knox",
    "axes",
    "auditlog",
    "csp",
    "accounts",
    "openclaw",
    "bridge",
]

# The callback route has none of these: see `bridge.asgi`.
MIDDLEWARE = [
    "bridge.security.proxies.TrustedProxies",
    "bridge.security.https.Https",
    "django.middleware.security.SecurityMiddleware",
    "bridge.security.headers.SecurityHeaders",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "bridge.ui.language.StaffLocale",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "bridge.security.audit.Audited",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
    "bridge.security.unstorable.RefuseUnstorable",
]

ROOT_URLCONF = "bridge.urls"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

DATABASES: dict[str, dict[str, Any]] = {
    "default": read_setting("DATABASE_URL", parse_database, parse_database("postgres:///bridge"))
}
DB_POOL_SIZE = read_setting("DB_POOL_SIZE", make_number_parser(0, 100), 24)
if DB_POOL_SIZE:
    # A pool smaller than the thread count loses 40 % of the throughput; keep it above every process's threads.
    # reconnect_timeout: the pool doubles its pause between two tries, by default for five minutes: after 48 s without a database 11 to 20 s
    # more passed until it noticed that it was back. Given up after 10 s, the next who needs a connection begins anew: 2 s.
    DATABASES["default"]["OPTIONS"] = {
        **DATABASES["default"].get("OPTIONS", {}),
        "pool": {"min_size": 1, "max_size": DB_POOL_SIZE, "timeout": 10, "reconnect_timeout": 10},
    }
    # After a restart of the database each connection of the pool is dead. Found out before its use it costs nobody anything; found out by
    # callbacks it may use up the three tries that the platform gives a message. How it is found out: `database.still_open`.
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
# The statements of `database.run`, which pass with every message, are read and planned once for each connection: planned for the values of
# each call, they cost PostgreSQL twice as much. Django's own statements are not prepared, so this says nothing to them.
_options = DATABASES["default"].setdefault("OPTIONS", {})
_options.setdefault("prepare_threshold", 2)
_options["options"] = f"{_options.get('options', '')} -c plan_cache_mode=force_generic_plan".strip()
# A server that is away must be known to be away before a platform gives up its callback: 5 s.
_options.setdefault("connect_timeout", 3)
_options.setdefault("tcp_user_timeout", 10_000)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTH_PASSWORD_VALIDATORS: list[dict[str, Any]] = [
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 12},
    },
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
# After so many wrong passwords a name is locked for callers from that address, until so many minutes have passed without a try.
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
AXES_FAILURE_LIMIT = read_setting("LOGIN_FAILURES", make_number_parser(1, 1000), 5)
AXES_COOLOFF_TIME = timedelta(minutes=read_setting("LOGIN_LOCK_MINUTES", make_number_parser(1, 1440), 15))
# Of one address in that time, whatever the names: `bridge.security.logins`.
LOGIN_ADDRESS_FAILURES = read_setting("LOGIN_ADDRESS_FAILURES", make_number_parser(5, 10000), 30)
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_HANDLER = "bridge.security.failures.Failures"
AXES_CLIENT_IP_CALLABLE = "bridge.security.proxies.axes_client_address"
AXES_LOCKOUT_TEMPLATE = "429.html"
AXES_RESET_ON_SUCCESS = True
AXES_ENABLE_ADMIN = AXES_VERBOSE = False
SESSION_COOKIE_AGE = read_setting("SESSION_HOURS", make_number_parser(1, 720), 12) * 3600

# The REST API; what its views share is in `bridge.api.base`.
REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["bridge.api.auth.Token", "bridge.api.auth.Session"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_METADATA_CLASS": None,
    "DEFAULT_SCHEMA_CLASS": "bridge.api.schema.DescribedSchema",
    "EXCEPTION_HANDLER": "bridge.api.errors.handle",
}
# Requests a minute of each token, and of each person in the browser.
API_RATE = read_setting("API_RATE", make_number_parser(1, 1_000_000), 600)
REST_KNOX = {"TOKEN_TTL": timedelta(days=90), "TOKEN_PREFIX": "wxb_", "AUTH_HEADER_PREFIX": "Bearer"}  # noqa: S106 - a prefix
SPECTACULAR_SETTINGS: dict[str, Any] = {
    "TITLE": "WeChat ⇄ OpenClaw bridge",
    "VERSION": "1",
    "DESCRIPTION": "Accounts, mappings, conversations and their messages. Send `Authorization: Bearer <token>`; "
    "`manage.py issue_token USER` makes a token. Fields you may not read are null.",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_GENERATOR_CLASS": "bridge.api.schema.Generator",
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_NAME_OVERRIDES": {
        "Health": "accounts.models.Health",
        "PeerKind": "bridge.models.routes.PeerKinds",
        "DeliveryState": "bridge.models.State",
        "FileState": "bridge.models.AttachmentState",
        "ContactKind": "bridge.models.Contact.Kind",
        "ContactRequestKind": "bridge.models.ContactRequest.Kind",
        "AccountKind": "accounts.models.kind_choices",
        "AlertChannelKind": "bridge.models.ChannelKind",
        "AlertRuleKind": "bridge.models.RuleKind",
        "AlertState": "bridge.models.AlertDelivery.State",
        "Direction": "bridge.models.Message.Direction",
        "Outlook": "bridge.models.replays.Outlook",
        "ReplayKind": "bridge.models.replays.ReplayKind",
        "ReplayState": "bridge.models.replays.ReplayState",
        "ReplayableState": "bridge.operations.replays.filters.REPLAYABLE",
        "Severity": "bridge.models.incidents.Severity",
        "Target": "bridge.models.Target",
    },
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "bridge.api.schema.close_objects",
    ],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
}

REDIS_URL = read_setting("REDIS_URL", str, "")

# Celery runs what the clock says: no result backend, no eta, one message prefetched; time and ownership live in rows.
CELERY_BROKER_URL = REDIS_URL.replace("unix://", "redis+socket://", 1).replace("?db=", "?virtual_host=")
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_CONCURRENCY = read_setting("WORKER_THREADS", make_number_parser(1, 100), 8)
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_SEND_TASK_EVENTS = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
CELERY_TIMEZONE = "UTC"
# The clock comes again: nobody acknowledges it. An acknowledgement over a connection that has gone would end the worker, and all
# that it is sending with it (kombu 5.7: AttributeError in Channel.pool).
CELERY_BROKER_TRANSPORT_OPTIONS = {"ack_emulation": False, "socket_keepalive": True}
# Every beat task expires after its own period, so a worker that was away does not meet a heap of stale ticks.
CELERY_BEAT_SCHEDULE = {
    "sweep": {"task": "bridge.runtime.worker.tasks.sweep", "schedule": 1.0, "options": {"expires": 1.0}},
    "refresh-tokens": {
        "task": "bridge.runtime.worker.tasks.refresh_tokens",
        "schedule": 60.0,
        "options": {"expires": 60.0},
    },
    "schedule-pulls": {
        "task": "bridge.runtime.worker.tasks.schedule_pulls",
        "schedule": 10.0,
        "options": {"expires": 10.0},
    },
    "check-health": {
        "task": "bridge.runtime.worker.tasks.check_health",
        "schedule": 20.0,
        "options": {"expires": 20.0},
    },
    "probe-failing": {
        "task": "bridge.runtime.worker.tasks.probe_failing",
        "schedule": 10.0,
        "options": {"expires": 10.0},
    },
    "hand-back-idle": {
        "task": "bridge.runtime.worker.tasks.hand_back_idle",
        "schedule": 20.0,
        "options": {"expires": 20.0},
    },
    "prune": {"task": "bridge.runtime.worker.tasks.prune", "schedule": 600.0, "options": {"expires": 600.0}},
    "count-figures": {
        "task": "bridge.runtime.worker.tasks.count_figures",
        "schedule": 30.0,
        "options": {"expires": 30.0},
    },
    # At an hour and not after a time: the clock may have lost its memory with its container.
    "tidy": {
        "task": "bridge.runtime.worker.tasks.tidy",
        "schedule": crontab(hour=20, minute=17),
        "options": {"expires": 3600.0},
    },
    "erase": {"task": "bridge.runtime.worker.tasks.erase", "schedule": 10.0, "options": {"expires": 10.0}},
    "follow-replays": {
        "task": "bridge.runtime.worker.tasks.follow_replays",
        "schedule": 10.0,
        "options": {"expires": 10.0},
    },
    "names": {"task": "bridge.runtime.worker.tasks.look_up_names", "schedule": 10.0, "options": {"expires": 10.0}},
    # One call for each account at a time, so a large company is read within hours and never at once.
    "directories": {
        "task": "bridge.runtime.worker.tasks.read_directories",
        "schedule": 2.0,
        "options": {"expires": 2.0},
    },
}
# How many deliveries one worker process sends at the same time.
SEND_THREADS = read_setting("SEND_THREADS", make_number_parser(1, 100), 16)

# Too-old guard: an answer that comes hours late confuses more than it helps. Seconds.
MAX_AGE_QUESTION = read_setting("MAX_AGE_QUESTION", make_number_parser(60, 604800), 3600)
MAX_AGE_ANSWER = read_setting("MAX_AGE_ANSWER", make_number_parser(60, 604800), 6 * 3600)
# How long the messages of a new account are kept, in days; staff may change it at the account. 0: for ever.
RETENTION_DAYS = read_setting("RETENTION_DAYS", parse_days, 90)
# What /metrics asks for as a bearer token; without one there is no /metrics.
METRICS_TOKEN = read_setting("METRICS_TOKEN", str, "")
MAX_AGE_WEBHOOK = read_setting("MAX_AGE_WEBHOOK", make_number_parser(60, 604800), 3 * 86400)

EMAIL_TIMEOUT = 10
ALERT_EMAIL: list[str] = read_setting("ALERT_EMAIL", split_words, [])
ALERT_WEBHOOK_URL = read_setting("ALERT_WEBHOOK_URL", str, "")
DEFAULT_FROM_EMAIL = read_setting("ALERT_FROM", str, "bridge@localhost")
vars().update(read_setting("EMAIL_URL", parse_mail_server, parse_mail_server("consolemail://")))

# Where callbacks are kept while the database is away, and how many at most: of all processes together, and of each.
SPOOL_DIR = read_setting("SPOOL_DIR", str, str(BASE_DIR / ".data" / "spool"))
SPOOL_MAX_MB = read_setting("SPOOL_MAX_MB", make_number_parser(1, 1_000_000), 256)
SPOOL_MAX_MESSAGES = read_setting("SPOOL_MAX_MESSAGES", make_number_parser(1, 100_000_000), 100_000)

MEDIA_ROOT = read_setting("MEDIA_ROOT", str, str(BASE_DIR / ".data" / "media"))
# Attachments are served by a permission-checked view only, so there is no MEDIA_URL.
STATIC_URL = "/static/"
STATIC_ROOT = read_setting("STATIC_ROOT", str, str(BASE_DIR / ".data" / "static"))
STATICFILES_DIRS = [BASE_DIR / "bridge" / "static"]
STORAGES = {
    # What people sent is for this user alone, wherever MEDIA_ROOT is and whatever the umask.
    "default": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"file_permissions_mode": 0o600, "directory_permissions_mode": 0o700},
    },
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedStaticFilesStorage"},
}
WHITENOISE_USE_FINDERS = DEBUG or DEMO

LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("zh-hans", "简体中文")]
LANGUAGE_COOKIE_NAME, LANGUAGE_COOKIE_AGE = "language", 365 * 24 * 3600
LANGUAGE_COOKIE_SAMESITE, LANGUAGE_COOKIE_HTTPONLY = "Lax", True
LOCALE_PATHS = locale_folders(BASE_DIR)
compile_catalogues(LOCALE_PATHS)
TIME_ZONE = read_setting("TIME_ZONE", parse_time_zone, "Asia/Shanghai")
USE_TZ = True

# 1 MiB: what a platform callback may be at most; larger admin uploads are streamed to disk.
CALLBACK_MAX_BYTES = 1024 * 1024
DATA_UPLOAD_MAX_MEMORY_SIZE = 4 * 1024 * 1024

LOGIN_URL = LOGIN_REDIRECT_URL = "admin:index"

# The admin's look; the menu is built in `bridge.admin.menu`, the start page in `bridge.admin.dashboard`.
UNFOLD = {
    "SITE_TITLE": _("WeChat bridge"),
    "SITE_HEADER": _("WeChat bridge"),
    "SITE_SUBHEADER": _("WeChat ⇄ OpenClaw"),
    "SITE_SYMBOL": "forum",
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda _request: static("bridge/icon.svg")},
    ],
    "SITE_URL": None,
    "SHOW_VIEW_ON_SITE": False,
    "SHOW_BACK_BUTTON": True,
    "SHOW_LANGUAGES": True,
    "BORDER_RADIUS": "8px",
    "STYLES": [
        lambda _request: static("bridge/admin.css"),
        lambda _request: static("bridge/dashboard.css"),
    ],
    "SCRIPTS": [
        lambda _request: static("bridge/admin.js"),
        lambda _request: static("bridge/live.js"),
        lambda _request: static("bridge/composer.js"),
        lambda _request: static("bridge/forms.js"),
        lambda _request: static("bridge/accessible.js"),
        lambda _request: static("bridge/keys.js"),
    ],
    "DASHBOARD_CALLBACK": "bridge.admin.dashboard.add_figures",
    "SIDEBAR": {"navigation": "bridge.admin.menu.build_navigation", "show_search": True, "command_search": True},
    "COLORS": {
        # Green, as WeChat's; 600 on white and 400 on the dark ground keep a contrast of 4.5 and more.
        "primary": {
            "50": "#f0fdf6",
            "100": "#dcfbe9",
            "200": "#bbf5d4",
            "300": "#86ebb3",
            "400": "#4ad88a",
            "500": "#1fbd69",
            "600": "#0b7a44",
            "700": "#0a6a3c",
            "800": "#0c5432",
            "900": "#0b452b",
            "950": "#022716",
        }
    },
}

SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
CSRF_COOKIE_SAMESITE = "Strict"
SESSION_COOKIE_SAMESITE = "Lax"  # a link in an alert's mail must find its reader logged in
# For everything but /admin/, whose theme needs more: `bridge.security.headers`.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        **dict.fromkeys(("default-src", "script-src", "style-src", "img-src", "form-action"), ["'self'"]),
        **dict.fromkeys(("object-src", "base-uri", "frame-ancestors"), ["'none'"]),
    }
}
HSTS_SECONDS = read_setting("HSTS_SECONDS", make_number_parser(0, 63072000), 2592000)
HTTPS_REDIRECT = read_setting("HTTPS_REDIRECT", parse_flag, True)
if PUBLIC_URL.startswith("https://"):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_HSTS_SECONDS = HSTS_SECONDS
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = LANGUAGE_COOKIE_SECURE = True
# HSTS for names below ours, and for good (preload): not ours to decide, the company may have other servers there.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W008", "security.W021"]  # W008: see bridge.security.https

LOG_LEVEL = read_setting("LOG_LEVEL", parse_log_level, "INFO")
LOG_FORMAT = read_setting("LOG_FORMAT", make_choice_parser("line", "json"), "line")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"()": "bridge.security.logs.LineFormatter"},
        "json": {"()": "bridge.security.logs.JsonFormatter"},
    },
    "filters": {"client_errors": {"()": "bridge.security.logs.ClientErrors"}},
    "handlers": {
        "console": {"class": "logging.StreamHandler", "formatter": LOG_FORMAT, "filters": ["client_errors"]},
    },
    # At DEBUG other people's code writes what it sends: urllib3 the whole path of each request, with the secrets that stand in it.
    "root": {"handlers": ["console"], "level": choose_library_level(LOG_LEVEL)},
    # Two lines for every tick of every second say nothing: what a task did stands in the rows. Of logins only failures count.
    "loggers": {
        **{name: {"level": LOG_LEVEL} for name in ("accounts", "bridge", "channels_wechat", "openclaw")},
        **{
            name: {"level": "WARNING"}
            for name in ("celery.beat", "celery.worker.strategy", "celery.app.trace", "axes", "urllib3")
        },
    },
}
