"""Some hundred damaged and hostile files of each kind, from fixed seeds; `python -m tests.fuzz` opens thousands."""

import pytest

from tests.fuzz.hammer import FAULTS, READ, REFUSED, Tally, hammer
from tests.fuzz.kinds import DEEP, FAULTY, KINDS

CASES = {"pictures": 120, "masks": 80, "models": 60, "folders": 10, "tables": 40, "annotations": 40, "recipes": 40}
CASES |= {"odd models": 30, "odd sets": 60}


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_file_is_read_or_refused_with_one_sentence(kind):
    tally = Tally()
    for case in hammer(kind, range(CASES[kind])):
        tally.add(case)
    assert [(case.number, case.outcome, case.words) for case in tally.faults] == []
    assert tally.counts[READ] + tally.counts[REFUSED] == CASES[kind] and tally.counts[REFUSED]
    assert kind not in DEEP or tally.decoded >= CASES[kind] / 2


@pytest.mark.parametrize("fault", FAULTY)
def test_the_hammer_notices_a_fault_and_goes_on(fault):
    assert [(case.number, case.outcome) for case in hammer(fault, range(2))] == [(0, fault), (1, fault)]
    assert fault in FAULTS
