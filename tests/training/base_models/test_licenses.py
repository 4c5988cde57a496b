"""Records of licenses: what they limit, and that nothing is made up for an unknown one."""

import json

import pytest

from training.licenses import UNVERIFIED, license_record


@pytest.mark.parametrize("name", ["Apache-2.0", "apache-2.0 ", "MIT"])
def test_permissive_licenses_need_no_attention(name: str) -> None:
    record = license_record(name)
    assert (record.commercial_use, record.revenue_limit_usd, record.caution) == ("yes", None, "")


def test_limits_and_policies_need_attention() -> None:
    lfm, gemma, llama = (license_record(name) for name in ("lfm1.0", "gemma", "llama3.2"))
    assert (lfm.commercial_use, lfm.revenue_limit_usd) == ("limited", 10_000_000)
    assert gemma.use_policy.startswith("https://")
    assert llama.commercial_use == "limited"
    assert all(one.caution for one in (lfm, gemma, llama))
    assert license_record("Gemma terms of use") == gemma


@pytest.mark.parametrize("name", ["", "other", "ours"])
def test_an_unknown_license_is_unverified(name: str) -> None:
    record = license_record(name)
    assert {record.commercial_use, record.revenue_limit, record.use_policy, record.derivatives} == {UNVERIFIED}
    assert UNVERIFIED in record.summary


def test_a_record_is_json() -> None:
    values = json.loads(json.dumps(license_record("lfm1.0").as_dict()))
    assert (values["id"], values["remote_code"]) == ("LicenseRef-LFM-1.0", False)
