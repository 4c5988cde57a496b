"""Records of licenses: what they limit, and that nothing is made up for an unknown one."""

import pytest

from training.licenses import UNVERIFIED, license_record


@pytest.mark.parametrize(
    ("name", "commercial", "revenue", "policy"),
    [
        ("Apache-2.0", "yes", None, False),
        ("mit ", "yes", None, False),
        ("lfm1.0", "limited", 10_000_000, False),
        ("gemma", "yes", None, True),
        ("llama3.2", "limited", None, True),
    ],
)
def test_license_has_its_limits(name: str, commercial: str, revenue: int | None, policy: bool) -> None:
    record = license_record(name)
    assert (record.commercial_use, record.revenue_limit_usd, bool(record.use_policy)) == (commercial, revenue, policy)
    assert bool(record.caution) == (commercial != "yes" or policy)


def test_unknown_license_is_unverified() -> None:
    record = license_record("ours")
    assert {record.commercial_use, record.revenue_limit, record.use_policy, record.derivatives} == {UNVERIFIED}
    assert UNVERIFIED in record.summary
