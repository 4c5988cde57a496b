"""Filters that escape values in Markdown templates."""

from django import template

from slmstudio.web.markdown import code, escape_line, escape_lines

register = template.Library()
register.filter("md", escape_line)
register.filter("md_lines", escape_lines)
register.filter("md_code", code)


@register.simple_block_tag
def line(content: str) -> str:
    """Its content as one line: Markdown has no other way to break a row of a table in the template."""
    return " ".join(content.split())
