"""What an account may do outside of any project: make projects, have models fetched. Given by an administrator."""

from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User

#: the group that has both permissions; an administrator puts accounts into it at /admin/
GROUP = "Project creators"
CREATE_PROJECTS, FETCH_MODELS = "labeling.add_project", "training.add_modelpull"
_NAMED = 3


def permission_granter() -> str:
    """Who can give these permissions, as the end of a sentence."""
    people = get_user_model().objects.filter(is_superuser=True, is_active=True).order_by("pk")
    names = ", ".join(people.values_list("username", flat=True)[:_NAMED])
    return f"an administrator ({names})" if names else "an administrator"


def may_create_projects(user: User) -> bool:
    """Whether an account may make projects."""
    return bool(user.has_perm(CREATE_PROJECTS))


def may_fetch_models(user: User) -> bool:
    """Whether an account may have models downloaded, or folders of the machine registered."""
    return bool(user.has_perm(FETCH_MODELS))


def make_group(using: str = "default", **_: Any) -> None:
    """Makes the group, a receiver of ``post_migrate``. Where it is new, everybody who owns a project is in it: before
    there was a permission every account could make projects.
    """
    from django.contrib.auth.models import Group, Permission

    made = [
        Permission.objects.using(using).filter(content_type__app_label=app, codename=code).first()
        for app, code in (name.split(".") for name in (CREATE_PROJECTS, FETCH_MODELS))
    ]
    if None in made or Group.objects.using(using).filter(name=GROUP).exists():
        return  # the permissions of an app that is migrated later are not there yet
    group = Group.objects.using(using).create(name=GROUP)
    group.permissions.set([one for one in made if one is not None])
    owners = apps.get_model("labeling", "Membership").objects.using(using).filter(role="owner")
    group.user_set.set(owners.filter(user__is_active=True).values_list("user", flat=True).distinct())
