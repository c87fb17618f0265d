import pytest

from pamprof.errors import UsageError
from pamprof.measure.comparison.points import default_points, parse_positive, parse_sizes, points
from pamprof.records import Dtype, Effort, Phase, Scope


def visit(**lists):
    return points(
        defaults=default_points("cuda", Effort.QUICK),
        phases=(Phase.TRAIN, Phase.DECODE),
        scope=Scope.MODEL,
        dtype=Dtype.BFLOAT16,
        batch_sizes=lists.get("batch_sizes", {}),
        sequence_lengths=lists.get("sequence_lengths", {}),
    )


def test_a_list_for_one_phase_wins_over_a_list_for_all():
    sizes = parse_sizes(["1,64", "train=3,18"], option="--batch-size")
    found = {(point.phase, point.batch_size) for point in visit(batch_sizes=sizes)}
    assert found == {(Phase.TRAIN, 3), (Phase.TRAIN, 18), (Phase.DECODE, 1), (Phase.DECODE, 64)}


def test_lengths_may_be_written_in_thousands_as_people_do():
    assert parse_sizes(["2k,16k"], option="--sequence-length") == {None: (2048, 16384)}


@pytest.mark.parametrize("text", ["0", "-3", "1.5", "many", "", "٣", "9" * 20])
def test_anything_but_a_positive_whole_number_is_refused_by_name(text):
    with pytest.raises(UsageError, match="--batch-size"):
        parse_positive(text, option="--batch-size")


def test_a_list_for_a_phase_that_is_not_measured_is_refused():
    with pytest.raises(UsageError, match="add prefill to --phase"):
        visit(sequence_lengths={Phase.PREFILL: (512,)})


def test_an_unknown_phase_is_refused_with_the_known_ones():
    with pytest.raises(UsageError, match="train, prefill, decode"):
        parse_sizes(["traim=3"], option="--batch-size")
