"""Names of spans and attributes: the one place that knows the conventions of OpenTelemetry.

GenAI attributes as of semantic conventions 1.37; they are in development, so a new name is changed here. Names that
begin with ``slm.`` are our own. Pure.
"""

SERVICE = "slm-gateway"
SCOPE = "slm_studio.gateway"
PROVIDER = "slm_studio"
OPERATION = "chat"

# HTTP
METHOD = "http.request.method"
ROUTE = "http.route"
STATUS = "http.response.status_code"
ERROR_TYPE = "error.type"
# GenAI
OPERATION_NAME = "gen_ai.operation.name"
PROVIDER_NAME = "gen_ai.provider.name"
REQUEST_MODEL = "gen_ai.request.model"
RESPONSE_MODEL = "gen_ai.response.model"
RESPONSE_ID = "gen_ai.response.id"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
OUTPUT_TYPE = "gen_ai.output.type"
INPUT_MESSAGES = "gen_ai.input.messages"
OUTPUT_MESSAGES = "gen_ai.output.messages"
# our own
REQUEST_ID = "slm.request_id"
PROJECT = "slm.project"
VERSION = "slm.version"
STAGE = "slm.stage"
ANSWERED_BY = "slm.answered_by"
VALID = "slm.valid"

#: protocol -> method and route
ROUTES = {
    "extract": ("POST", "/api/v1/projects/{slug}/extract"),
    "openai": ("POST", "/v1/chat/completions"),
}
#: what a step of a request is called
QUEUE, MODEL, VALIDATION, FALLBACK, SHADOW = "queue", "model", "validation", "fallback", "shadow"
