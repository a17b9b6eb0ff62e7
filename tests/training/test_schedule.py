"""The step size of the report."""

import pytest

from hangtag.training.schedule import build_schedule


@pytest.mark.parametrize("step", [0, 1, 999, 7_992])
def test_the_step_size_decays_as_in_the_report(step: int) -> None:
    wanted = 0.01 / (1 + 0.01 / 8 * step)
    assert float(build_schedule(0.01, 8)(step)) == pytest.approx(wanted, rel=1e-6)
