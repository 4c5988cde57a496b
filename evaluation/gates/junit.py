"""Gates as a JUnit file, so that a CI server shows each one as a test."""

import re
from xml.etree import ElementTree

from evaluation.gates.checks import GateOutcome
from evaluation.gates.metrics.findings import Status

#: characters that XML 1.0 cannot contain
_UNREPRESENTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def junit_xml(outcome: GateOutcome) -> str:
    """One test suite with a test for each gate. FAIL and NOT PROVEN are failures, ``type`` says which; an
    inapplicable gate is skipped."""
    project = outcome.eval_run.project.slug
    skipped = sum(verdict["status"] == Status.INAPPLICABLE for verdict in outcome.verdicts)
    counts = {"tests": str(len(outcome.verdicts)), "failures": str(_failures(outcome)), "errors": "0"}
    counts |= {"skipped": str(skipped)} if skipped else {}
    root = ElementTree.Element("testsuites", counts)
    suite = ElementTree.SubElement(root, "testsuite", {"name": f"gates of {project}", **counts})
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in _properties(outcome).items():
        ElementTree.SubElement(properties, "property", {"name": name, "value": _clean(value)})
    for verdict in outcome.verdicts:
        gate, sentence = verdict["gate"], _clean(verdict["sentence"])
        names = {"classname": f"gates.{project}.{gate['key']}", "name": _clean(gate["title"]), "time": "0"}
        test = ElementTree.SubElement(suite, "testcase", names)
        if verdict["status"] == Status.PASS:
            ElementTree.SubElement(test, "system-out").text = sentence
        elif verdict["status"] == Status.INAPPLICABLE:
            ElementTree.SubElement(test, "skipped", {"message": sentence})
        else:
            reason = {"type": str(verdict["status"]), "message": sentence}
            ElementTree.SubElement(test, "failure", reason).text = sentence
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _failures(outcome: GateOutcome) -> int:
    return sum(verdict["status"] not in (Status.PASS, Status.INAPPLICABLE) for verdict in outcome.verdicts)


def _properties(outcome: GateOutcome) -> dict[str, str]:
    found = {
        "verdict": str(outcome.status),
        "sentence": outcome.sentence,
        "evaluation": str(outcome.eval_run.number),
        "model": outcome.eval_run.model_label,
        "split": str(outcome.eval_run.split),
    }
    return found if outcome.report is None else {**found, "report": str(outcome.report.number)}


def _clean(text: str) -> str:
    return _UNREPRESENTABLE.sub("\N{REPLACEMENT CHARACTER}", text)
