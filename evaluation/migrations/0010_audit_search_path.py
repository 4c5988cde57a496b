"""The functions of the audit log's chain look at the tables of ``public`` alone, not at temporary ones of their name."""

from django.db import migrations

FUNCTIONS = (
    "evaluation_audit_content(evaluation_auditentry)",
    "evaluation_audit_hash(evaluation_auditentry)",
    "evaluation_chain_audit_entry()",
)
FIX = "".join(f"ALTER FUNCTION {one} SET search_path = pg_catalog, public, pg_temp;\n" for one in FUNCTIONS)
RESET = "".join(f"ALTER FUNCTION {one} RESET search_path;\n" for one in FUNCTIONS)


class Migration(migrations.Migration):
    dependencies = [("evaluation", "0009_reasoning_endpoints")]

    operations = [migrations.RunSQL(FIX, RESET)]
