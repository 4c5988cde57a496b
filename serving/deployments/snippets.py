"""Code that calls the deployed model, for the page."""

from dataclasses import dataclass

from django.conf import settings


@dataclass(frozen=True)
class Snippet:
    """One way to call it."""

    key: str
    title: str
    code: str


def capture_url(slug: str) -> str:
    """The base URL of OpenAI clients whose requests are forwarded unchanged."""
    return f"{str(settings.GATEWAY_URL).rstrip('/')}/capture/{slug}/v1"


def snippets(slug: str) -> list[Snippet]:
    """The snippets of a project; the token is a placeholder."""
    url = str(settings.GATEWAY_URL).rstrip("/")
    return [
        Snippet(
            "curl",
            "curl",
            f"""curl {url}/api/v1/projects/{slug}/extract \\
  -H "Authorization: Bearer $SLM_TOKEN" \\
  -H "Content-Type: application/json" \\
  -d '{{"text": "the text of a document"}}'""",
        ),
        Snippet(
            "python",
            "Python",
            f"""import os
import httpx

response = httpx.post(
    "{url}/api/v1/projects/{slug}/extract",
    headers={{"Authorization": f"Bearer {{os.environ['SLM_TOKEN']}}"}},
    json={{"text": "the text of a document"}},
    timeout=120,
)
response.raise_for_status()
print(response.json()["output"])""",
        ),
        Snippet(
            "feedback",
            "Feedback",
            f"""curl {url}/api/v1/projects/{slug}/feedback \\
  -H "Authorization: Bearer $SLM_TOKEN" \\
  -H "Content-Type: application/json" \\
  -d '{{"request_id": "REQUEST_ID", "right": true}}'""",
        ),
        Snippet(
            "openai",
            "OpenAI client",
            f"""import os
from openai import OpenAI

client = OpenAI(base_url="{url}/v1", api_key=os.environ["SLM_TOKEN"])
completion = client.chat.completions.create(
    model="{slug}",
    messages=[{{"role": "user", "content": "the text of a document"}}],
)
print(completion.choices[0].message.content)""",
        ),
        Snippet(
            "langchain",
            "LangChain",
            f"""import os
from langchain_openai import ChatOpenAI

model = ChatOpenAI(base_url="{url}/v1", api_key=os.environ["SLM_TOKEN"], model="{slug}")
print(model.invoke("the text of a document").content)""",
        ),
        Snippet(
            "file",
            "File",
            f"""curl {url}/api/v1/projects/{slug}/extract \\
  -H "Authorization: Bearer $SLM_TOKEN" \\
  -F file=@document.pdf""",
        ),
    ]
