"""URLs of the order of a queue, below /p/<slug>/."""

from django.urls import path

from labeling.queue_order import views

urlpatterns = [
    path("label/order/", views.queue_order, name="queue_order"),
    path("label/order/update/", views.update, name="queue_order_update"),
]
