"""URLs of comments and mentions, below /p/<slug>/."""

from django.urls import path

from labeling.comments import views

urlpatterns = [
    path("label/<int:pk>/comments/", views.comments, name="label_comments"),
    path("label/<int:pk>/comments/resolve/", views.resolve, name="label_resolve"),
    path("mentions/", views.mentions, name="mentions"),
]
