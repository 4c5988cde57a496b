"""Routers of higher apps, which register them here when Django starts."""

from ninja import Router

from slmstudio.hooks import Hook

#: -> prefix below /api/v1, and a router; its operations have the arguments of ``operations.operation``
more_routers: Hook[[], tuple[str, Router]] = Hook()
#: addresses of operations that accept files, without the prefix
FILES_AT = {"/projects/{slug}/imports"}
