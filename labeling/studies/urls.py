"""URLs of studies, below /p/<slug>/."""

from django.urls import URLPattern, path

from labeling.studies import views

urlpatterns = [
    path("studies/", views.studies, name="studies"),
    path("studies/<slug:kind>/new/", views.new_study, name="study_new"),
    path("studies/<slug:kind>/<int:number>/", views.study_page, name="study"),
    path("studies/<slug:kind>/<int:number>/study.yaml", views.spec_file, name="study_spec"),
    path("studies/<slug:kind>/<int:number>/cancel/", views.cancel, name="study_cancel"),
    path("studies/<slug:kind>/<int:number>/resume/", views.resume, name="study_resume"),
]


def former_pages(prefix: str, kind: str) -> list[URLPattern]:
    """The bookmarks of a kind of study from before studies had one list."""
    pages = (("", "studies"), ("new/", "study_new"), ("<int:number>/", "study"))
    return [
        path(f"{prefix}{rest}", views.former_page, {"kind": kind, "page": page}, name=f"former_{page}")
        for rest, page in pages
    ]
