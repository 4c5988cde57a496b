"""Tags that documents were imported with become tags of their projects, so that lists offer them."""

from typing import Any

from django.db import migrations

from labeling.failure_tags import FAILURE_TAGS, MAX_OWN_TAGS

_USED = """
SELECT project_id, array_agg(tag ORDER BY count DESC, tag) FROM (
    SELECT project_id, unnest(tags) AS tag, count(*) AS count FROM labeling_document GROUP BY 1, 2
) used WHERE tag <> ALL(%s) AND tag NOT LIKE '%%,%%' GROUP BY project_id
"""


def add_used(apps: Any, schema_editor: Any) -> None:
    """Adds the most frequent tags, as far as a project can have more."""
    projects = apps.get_model("labeling", "Project").objects
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(_USED, [list(FAILURE_TAGS)])
        for pk, tags in cursor.fetchall():
            project = projects.get(pk=pk)
            project.extra_tags = list(dict.fromkeys([*project.extra_tags, *tags]))[:MAX_OWN_TAGS]
            project.save(update_fields=["extra_tags"])


class Migration(migrations.Migration):
    dependencies = [("labeling", "0015_import_attempts")]

    operations = [migrations.RunPython(add_used, migrations.RunPython.noop)]
