"""Service accounts: members of one project for programs, such as CI. They have tokens, no password, and never a role
that approves.
"""

import re

from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.db import transaction

from labeling.models import Membership, Project
from labeling.projects import members
from slmstudio.access import Action, Role, may, require
from slmstudio.errors import Refused
from slmstudio.hooks import note_audit

#: the roles that they can have
ROLES = [
    (role.value, role.label)
    for role in Role
    if not any(may(role, action) for action in (Action.APPROVE, Action.ADMINISTER))
]
#: of a project
MAX_ACCOUNTS = 20
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")


@transaction.atomic
def create(*, project: Project, by: User, name: str, role: str) -> Membership:
    """Creates a service account. Its user name is the project's slug, a period and ``name``.

    Raises:
        Forbidden: the user's role does not permit it.
        Refused: ``field`` is name or role.
    """
    require(project, by, Action.ADMINISTER)
    members.lock_project(project)
    if not _NAME.fullmatch(name):
        text = "Enter up to 40 lowercase letters, digits and hyphens, such as ci. It starts with a letter or digit."
        raise Refused(text, field="name")
    if role not in dict(ROLES):
        raise Refused(f"A service account can have the roles {', '.join(dict(ROLES))}.", field="role")
    if project.memberships.filter(is_service=True).count() >= MAX_ACCOUNTS:
        raise Refused(f"A project can have {MAX_ACCOUNTS} service accounts. Remove one first.", field="name")
    username = f"{project.slug}.{name}"
    if get_user_model().objects.filter(username__iexact=username).exists():
        raise Refused(f"There is an account {username}, perhaps a removed one. Choose another name.", field="name")
    user = User(username=username)
    user.set_unusable_password()
    user.save()
    membership = Membership.objects.create(project=project, user=user, role=role, role_given_by=by, is_service=True)
    note_audit(project=project, user=by, action="added", about=f"service account {username}", details={"role": role})
    return membership
