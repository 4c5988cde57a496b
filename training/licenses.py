"""The terms of the licenses of base models, as records. Pure.

A record is a summary to compare models by, and no legal advice; ``url`` has the text. A fact that was not checked
against the text is ``UNVERIFIED``. Models that need code of their own are rejected before they are loaded, so
``remote_code`` is False for every model that can be used.
"""

from dataclasses import asdict, dataclass
from typing import Any

UNVERIFIED = "unverified"


@dataclass(frozen=True)
class LicenseRecord:
    """One license. ``id``: its SPDX identifier, or ``LicenseRef-`` and a name.

    ``commercial_use``: yes, limited, no, or unverified; ``limit`` says to whom it is limited. ``revenue_limit_usd``:
    the yearly revenue (USD) above which commercial use needs another license; None without one.
    ``use_policy``: the URL of a policy that binds users of the model, "" without one. ``derivatives``: what holds for
    fine-tuned models.
    """

    id: str
    name: str
    url: str = ""
    commercial_use: str = UNVERIFIED
    limit: str = ""
    revenue_limit_usd: int | str | None = UNVERIFIED
    attribution: str = UNVERIFIED
    use_policy: str = UNVERIFIED
    derivatives: str = UNVERIFIED
    remote_code: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for manifests and files."""
        return asdict(self)

    @property
    def commercial(self) -> str:
        """Commercial use with its limit, as a phrase."""
        return f"{self.commercial_use}: {self.limit}" if self.limit else self.commercial_use

    @property
    def revenue_limit(self) -> str:
        """The revenue limit as a phrase."""
        if isinstance(self.revenue_limit_usd, int):
            return f"${self.revenue_limit_usd:,} a year"
        return self.revenue_limit_usd or "none"

    @property
    def caution(self) -> str:
        """What needs attention, as a phrase; "" if nothing does."""
        if self.commercial_use == UNVERIFIED:
            return "terms unverified"
        limited = "" if self.commercial_use == "yes" else f"commercial use {self.commercial_use}"
        return ", ".join(filter(None, (limited, "restricted use" if self.use_policy else "")))

    @property
    def summary(self) -> str:
        """The name, and what needs attention."""
        return ", ".join(filter(None, (self.name, self.caution)))

    def rows(self) -> list[tuple[str, str]]:
        """Title and value of each term, for tables."""
        return [
            ("License", self.name),
            ("Identifier", self.id or UNVERIFIED),
            ("Text", self.url or UNVERIFIED),
            ("Commercial use", self.commercial),
            ("Revenue limit", self.revenue_limit),
            ("Attribution", self.attribution),
            ("Restricted use", self.use_policy or "none"),
            ("Fine-tuned models", self.derivatives),
            ("Remote code", "needed" if self.remote_code else "Not needed"),
        ]


_APACHE = LicenseRecord(
    id="Apache-2.0",
    name="Apache-2.0",
    url="https://www.apache.org/licenses/LICENSE-2.0",
    commercial_use="yes",
    revenue_limit_usd=None,
    attribution="Keep the license and the notices.",
    use_policy="",
    derivatives="May have other terms. Changed files must say so.",
)
_MIT = LicenseRecord(
    id="MIT",
    name="MIT",
    url="https://opensource.org/license/mit",
    commercial_use="yes",
    revenue_limit_usd=None,
    attribution="Keep the copyright notice and the license.",
    use_policy="",
    derivatives="May have other terms.",
)
_GEMMA = LicenseRecord(
    id="LicenseRef-Gemma",
    name="Gemma terms of use",
    url="https://ai.google.dev/gemma/terms",
    commercial_use="yes",
    revenue_limit_usd=None,
    attribution="A notice that Gemma is provided under its terms of use, in every distribution.",
    use_policy="https://ai.google.dev/gemma/prohibited_use_policy",
    derivatives="The terms also apply to fine-tuned models: pass on the terms and the use restrictions, and mark "
    "changed files.",
)
_LLAMA = LicenseRecord(
    id="LicenseRef-Llama-3.2",
    name="Llama 3.2 license",
    url="https://www.llama.com/llama3_2/license/",
    commercial_use="limited",
    limit="more than 700 million monthly users need a license from Meta",
    revenue_limit_usd=None,
    attribution='"Built with Llama", shown where the model is used, and a notice file.',
    use_policy="https://www.llama.com/llama3_2/use-policy/",
    derivatives='The name of a distributed fine-tuned model begins with "Llama"; pass on the license.',
)
_LFM = LicenseRecord(
    id="LicenseRef-LFM-1.0",
    name="LFM Open License 1.0",
    url="https://www.liquid.ai/lfm-license",
    commercial_use="limited",
    limit="above $10 million of revenue a year, another license is needed",
    revenue_limit_usd=10_000_000,
    attribution="Keep the license and the notices.",
    use_policy="",
    derivatives="Unverified: check in the text whether the revenue limit covers them.",
)
#: by the names that catalogs and model cards use, in lower case
_RECORDS = {
    "apache-2.0": _APACHE,
    "mit": _MIT,
    "gemma": _GEMMA,
    "gemma terms of use": _GEMMA,
    "llama3.2": _LLAMA,
    "llama 3.2 license": _LLAMA,
    "lfm1.0": _LFM,
    "lfm open license 1.0": _LFM,
}


def license_record(name: str) -> LicenseRecord:
    """The record of a license by its name; one whose terms are unverified if it is unknown."""
    return _RECORDS.get(name.strip().casefold()) or LicenseRecord(id="", name=name.strip() or "license unknown")
