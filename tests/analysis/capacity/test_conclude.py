import pytest

from pamprof.analysis.capacity.conclude import capacity_findings, state_byte_count
from pamprof.records import AssociativeMemory, RetrievalScore
from tests.analysis.capacity.records import capacity_record, point

VECTOR, K1, KV = AssociativeMemory.VECTOR, AssociativeMemory.PAM_K1, AssociativeMemory.KV_CACHE


def test_state_bytes_are_those_of_one_head():
    # d = 64: 64 complex float32, 64² of them, three times that, 64² real ones; 2 x 64 bfloat16 for each pair.
    sizes = {state: state_byte_count(state, 64, 10) for state in AssociativeMemory}
    assert sizes == {
        VECTOR: 512,
        K1: 32_768,
        AssociativeMemory.PAM_K3: 98_304,
        AssociativeMemory.REAL_MATRIX: 16_384,
        KV: 2_560,
        AssociativeMemory.PAM_K1_FORGETTING: 32_768,
        AssociativeMemory.PAM_K3_FORGETTING: 98_304,
    }


def test_what_is_held_is_the_largest_size_before_the_first_below_99_percent():
    sizes = ((50, 50), (100, 100), (200, 197), (300, 299))  # the last is luck: 200 are not held
    held = capacity_findings(capacity_record([point(K1, n, correct) for n, correct in sizes])).held_by(K1, 64)
    assert (held.associations, held.is_bound) == (100, False)
    assert held.per_state_byte == 100 / 32_768
    assert held.high == 300  # 98.5 % of 800 has an upper end above 99 %
    assert held.low == 100  # all of 400; of all of 200 the lower end is 98.1 %


def test_a_cache_that_returns_all_holds_at_least_what_was_written():
    held = capacity_findings(capacity_record()).held_by(KV, 64)
    assert (held.associations, held.is_bound, held.state_bytes) == (256, True, 256 * 256)
    assert held.per_state_byte == 1 / 256


def test_a_memory_that_fails_at_the_smallest_size_holds_an_unknown_number():
    held = capacity_findings(capacity_record([point(VECTOR, 64, 8)])).held_by(VECTOR, 64)
    assert (held.associations, held.low, held.high, held.is_bound, held.per_state_byte) == (
        None,
        None,
        None,
        False,
        None,
    )


def test_the_law_has_its_exponent_and_factor():
    laws = {law.state: law for law in capacity_findings(capacity_record()).laws}
    assert laws[VECTOR].signal.exponent.median == pytest.approx(-0.5)
    assert laws[VECTOR].signal.factor.median == pytest.approx(1, rel=0.02)
    assert laws[K1].signal.exponent.median == pytest.approx(-0.5)
    assert laws[K1].signal.factor.median == pytest.approx(8, rel=0.02)
    assert laws[K1].accuracy is None
    assert KV not in laws


def test_published_points_agree_only_where_they_do_and_for_their_own_score():
    found = {each.state: each for each in capacity_findings(capacity_record()).published}
    assert found[VECTOR].agrees
    assert found[K1].agrees
    wrong = capacity_record([point(VECTOR, 64, 20)])
    assert [each.agrees for each in capacity_findings(wrong).published] == [False]
    assert capacity_findings(capacity_record(score=RetrievalScore.MODULUS)).published == ()
