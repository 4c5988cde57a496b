"""Number formats of the pages of base models."""

from django import template

register = template.Library()


@register.filter
def millions(number: int) -> str:
    """A count of parameters: 0.1 M, 135 M, 1.7 B."""
    if number >= 995_000_000:
        return f"{number / 1e9:.1f} B"
    return f"{number / 1e6:,.0f} M" if number >= 10_000_000 else f"{number / 1e6:.1f} M"
