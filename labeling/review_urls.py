"""Addresses of reviews and mentions, below /p/<slug>/."""

from django.urls import path

from labeling.views import review

urlpatterns = [
    path("review/", review.review, name="review"),
    path("review/next/", review.review_next, name="review_next"),
    path("review/onward/", review.review_onward, name="review_onward"),
    path("review/<int:pk>/", review.review_document, name="review_document"),
    path("review/<int:pk>/approve/", review.review_approve, name="review_approve"),
    path("review/<int:pk>/reject/", review.review_reject, name="review_reject"),
    path("review/<int:pk>/adjudicate/", review.review_adjudicate, name="review_adjudicate"),
    path("mentions/", review.mentions, name="mentions"),
    path("mentions/<int:pk>/", review.mention, name="mention"),
]
