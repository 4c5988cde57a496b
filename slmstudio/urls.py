"""All URLs: each app adds its own below /p/<slug>/."""

from django.contrib import admin
from django.contrib.auth import views as auth
from django.urls import include, path

from slmstudio.web import views as web_views
from slmstudio.workers import views as worker_views

urlpatterns = [
    path("login/", auth.LoginView.as_view(template_name="login.html", redirect_authenticated_user=True), name="login"),
    path("logout/", auth.LogoutView.as_view(), name="logout"),
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
