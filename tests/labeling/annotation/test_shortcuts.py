"""The keys of the labeling screen: what they are, what a person may make of them, and the page where they do."""

import json
import re

import pytest
from django.test import Client
from django.urls import reverse

from labeling.annotation import shortcuts
from tests.labeling.label_desk import Desk


def test_default_chords_are_unique_and_valid() -> None:
    chords = [chord for action in shortcuts.ACTIONS for chord in action.defaults]
    assert len(chords) == len(set(chords))
    for action in shortcuts.ACTIONS:
        for chord in action.defaults:
            # What is a default can be taken back by hand as well.
            assert shortcuts.with_shortcut({}, action.name, chord).get(action.name, chord) == chord


@pytest.mark.parametrize(
    ("chord", "why"),
    [
        ("", "This is not a valid shortcut"),
        ("Alt+KeyN", "Alt+N is in use: next document"),
        ("Ctrl+KeyC", "copies"),
        ("Ctrl+Shift+KeyT", "the browser uses it"),
        ("Enter", "needed for typing"),
        ("Tab", "is not a valid shortcut"),
        ("Ctrl+Alt+KeyK", "is not a valid shortcut"),
        ("Digit5", "needed for typing"),
        ("Alt+" + "K" * 10_000, "is not a valid shortcut"),
    ],
)
def test_invalid_chord_is_refused(chord: str, why: str) -> None:
    with pytest.raises(shortcuts.InvalidShortcut, match=re.escape(why)) as refusal:
        shortcuts.with_shortcut({}, "skip", chord)
    assert len(str(refusal.value)) < 200


def test_reset_is_refused_while_another_action_uses_the_chord() -> None:
    own = shortcuts.with_shortcut({}, "skip", "Alt+KeyU")
    own = shortcuts.with_shortcut(own, "flag", "Alt+KeyX")
    with pytest.raises(shortcuts.InvalidShortcut, match="is in use"):
        shortcuts.without_shortcut(own, "skip")
    assert shortcuts.without_shortcut(shortcuts.without_shortcut(own, "flag"), "skip") == {}
    with pytest.raises(shortcuts.InvalidShortcut, match="Unknown action"):
        shortcuts.with_shortcut({}, "explode", "Alt+KeyU")


def test_invalid_stored_shortcuts_are_ignored() -> None:
    stored: list[object] = [None, [], "x", {"skip": 3}, {"skip": ["Alt+KeyU"]}, {"skip": "nonsense"}]
    assert {shortcuts.bindings(value)["skip"] for value in stored} == {("Alt+KeyX",)}


def test_page_sets_refuses_and_resets_shortcuts(desk: Desk) -> None:
    client = Client()
    client.force_login(desk.ana)
    page = reverse("my_keys")
    assert "Reset" not in client.get(page).text
    answer = client.post(page, {"action": "skip", "chord": "Alt+KeyU"})
    assert answer.status_code == 200
    assert "Shortcut changed." in answer.text
    assert shortcuts.for_user(desk.ana).keys == {"skip": "Alt+KeyU"}
    answer = client.post(page, {"action": "flag", "chord": "Alt+KeyU"})
    assert answer.status_code == 422
    assert "Alt+U is in use: skip with a reason." in answer.text
    assert shortcuts.for_user(desk.ana).keys == {"skip": "Alt+KeyU"}
    assert shortcuts.for_user(desk.ben).keys == {}
    client.post(page, {"action": "skip", "reset": "1"})
    assert shortcuts.for_user(desk.ana).keys == {}
    client.post(page, {"action": "skip", "chord": "Alt+KeyU"})
    client.post(page, {"reset": "1"})
    assert shortcuts.for_user(desk.ana).keys == {}


def test_screen_has_the_shortcuts_of_the_user(desk: Desk) -> None:
    shortcuts.set_key(user=desk.ana, action="submit", chord="Ctrl+Shift+Enter")
    client = Client()
    client.force_login(desk.ana)
    text = client.get(reverse("label_document", args=["desk", desk.document().pk])).text
    bound = json.loads(text.split('id="label-keys" type="application/json">')[1].split("</script>")[0])
    assert bound["submit"] == ["Ctrl+Shift+Enter"]
    assert '<kbd data-keys="submit">Ctrl Shift ↵</kbd>' in text
    dialog = text[text.index('id="keys"') :]
    assert set(re.findall(r'<kbd data-keys="(\w+)">', dialog)) == set(shortcuts.BY_NAME)  # each action is in the help
