"""All URLs: each app adds its own below /p/<slug>/."""

from allauth.account.decorators import secure_admin_login
from django.contrib import admin
from django.urls import include, path

from slmstudio.web import views as web_views
from slmstudio.workers import views as worker_views

admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]

urlpatterns = [
    path("", include("slmstudio.accounts.urls")),
    path("healthz", web_views.health, name="health"),
    path("workers/", worker_views.workers, name="workers"),
    path("workers/failed/<slug:queue>/<str:job_id>/", worker_views.manage_failed_job, name="failed_job"),
    path("models/", include("training.base_models.urls")),
    path("admin/", admin.site.urls),
    path("", include("labeling.urls")),
    path("p/<slug:slug>/", include("training.urls")),
    path("p/<slug:slug>/", include("evaluation.urls")),
    path("p/<slug:slug>/", include("serving.urls")),
]
handler400 = "slmstudio.web.views.bad_request"
handler403 = "slmstudio.web.views.forbidden"
handler404 = "slmstudio.web.views.not_found"
