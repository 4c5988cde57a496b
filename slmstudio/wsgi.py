"""WSGI entry point of the web server."""

import os

from django.core.wsgi import get_wsgi_application

from slmstudio.accounts.secret_keys import require_strong_keys

require_strong_keys()
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "slmstudio.settings")
application = get_wsgi_application()
