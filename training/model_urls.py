"""Addresses of base models, which belong to no project; below /models/."""

from django.urls import path

from training import model_views

urlpatterns = [
    path("", model_views.models, name="base_models"),
    path("add/", model_views.add, name="base_model_add"),
    path("<slug:model>/prepare/", model_views.prepare, name="base_model_prepare"),
    path("<slug:model>/stop/", model_views.stop, name="base_model_stop"),
]
