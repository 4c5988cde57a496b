"""Permissions of an account outside projects: creating projects, downloading models. Granted by an administrator."""

from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User

#: the group with both permissions; an administrator adds accounts to it at /admin/
GROUP = "Project creators"
CREATE_PROJECTS, FETCH_MODELS = "labeling.add_project", "training.add_modeldownload"
_MAX_LISTED = 3


def permission_granter() -> str:
    """The administrators who can grant these permissions, as the end of a sentence."""
    people = get_user_model().objects.filter(is_superuser=True, is_active=True).order_by("pk")
    names = ", ".join(people.values_list("username", flat=True)[:_MAX_LISTED])
    return f"an administrator ({names})" if names else "an administrator"


def may_create_projects(user: User) -> bool:
    """Whether an account may create projects."""
    return bool(user.has_perm(CREATE_PROJECTS))


def may_download_models(user: User) -> bool:
    """Whether an account may download models, or register local folders."""
    return bool(user.has_perm(FETCH_MODELS))


def create_group(using: str = "default", **_: Any) -> None:
    """Creates the group, a receiver of ``post_migrate``. A new group gets every project owner as a member: before there
    was a permission every account could create projects.
    """
    from django.contrib.auth.models import Group, Permission

    made = [
        Permission.objects.using(using).filter(content_type__app_label=app, codename=code).first()
        for app, code in (name.split(".") for name in (CREATE_PROJECTS, FETCH_MODELS))
    ]
    if None in made or Group.objects.using(using).filter(name=GROUP).exists():
        return  # the permissions of an app that is migrated later are missing yet
    group = Group.objects.using(using).create(name=GROUP)
    group.permissions.set([permission for permission in made if permission is not None])
    owners = apps.get_model("labeling", "Membership").objects.using(using).filter(role="owner")
    group.user_set.set(owners.filter(user__is_active=True).values_list("user", flat=True).distinct())
