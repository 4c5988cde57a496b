"""The form of an erasure."""

from django import forms

from serving.erasure.pattern import MAX_LENGTH
from slmstudio.web.forms import BootstrapForm


class ErasureForm(BootstrapForm):
    """What is erased."""

    text = forms.CharField(
        label="Text",
        max_length=MAX_LENGTH,
        help_text="A name, an email address or a document's ID, in any case. Parts of longer words are other texts.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
