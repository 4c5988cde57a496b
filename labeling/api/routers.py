"""Routers of higher apps, which register them here when Django starts."""

from typing import TYPE_CHECKING

from slmstudio.hooks import Hook

if TYPE_CHECKING:
    from ninja import Router  # takes a tenth of the time that a process needs to start

#: -> prefix below /api/v1, and a router; its operations have the arguments of ``operations.operation``
more_routers: "Hook[[], tuple[str, Router]]" = Hook()
#: addresses of operations that accept files, without the prefix
UPLOAD_ROUTES = {"/projects/{slug}/imports", "/projects/{slug}/imports/preview"}
