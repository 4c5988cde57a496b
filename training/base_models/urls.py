"""URLs of base models, below /models/."""

from django.urls import path

from training.base_models import views

urlpatterns = [
    path("", views.models, name="base_models"),
    path("add/", views.add, name="base_model_add"),
    path("<slug:model>/prepare/", views.prepare, name="base_model_prepare"),
    path("<slug:model>/remove/", views.remove, name="base_model_remove"),
    path("<slug:model>/stop/", views.stop, name="base_model_stop"),
]
