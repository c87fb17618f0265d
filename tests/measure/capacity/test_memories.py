"""Memories against what they must hold by hand: orthogonal keys, the law of interference, K states, the KV cache."""

from __future__ import annotations

from math import cos, exp, log1p, sin

import pytest
import torch

from pamprof.errors import UsageError
from pamprof.measure.capacity.memories import (
    initial_decays,
    random_pairs,
    read_back,
    read_states,
    retrieved,
    vector_memory,
    write_states,
)
from pamprof.measure.capacity.probe import CapacityRequest, measure_capacity
from pamprof.records import AssociativeMemory, RetrievalScore
from pamprof.workloads.layers.vector_pam.oracle import convolved, correlated

KEEPING = [state for state in AssociativeMemory if not state.endswith("forgetting")]


def request(**changes) -> CapacityRequest:
    given = {
        "command": "pamprof capacity",
        "device": "cpu",
        "states": tuple(AssociativeMemory),
        "head_dims": (64,),
        "associations": (64,),
        "score": RetrievalScore.ABSOLUTE_REAL,
        "seeds": 20,
        "first_seed": 0,
        "time_budget_seconds": 60.0,
    }
    return CapacityRequest(**(given | changes))


def measured(**changes):
    record = measure_capacity(request(**changes), lambda *_: (None, "no price in a test"))
    return {(point.state, point.head_dim, point.associations): point for point in record.points}, record


@pytest.mark.parametrize("state", [AssociativeMemory.PAM_K1, AssociativeMemory.PAM_K3, AssociativeMemory.REAL_MATRIX])
def test_a_matrix_returns_values_of_orthonormal_keys_exactly(state) -> None:
    keys = torch.eye(8, dtype=torch.complex64).repeat(2, 1, 1)
    _, values = random_pairs(range(2), 8, 8)
    read, held = read_back(state, keys, values)
    torch.testing.assert_close(read, held, rtol=0, atol=1e-6)


def test_a_kv_cache_returns_every_value_however_many_there_are() -> None:
    keys, values = random_pairs(range(2), 300, 16)
    read, held = read_back(AssociativeMemory.KV_CACHE, keys, values)
    assert torch.equal(read, held)
    assert not read.is_complex()


def test_pairs_have_length_one_and_belong_to_their_seed() -> None:
    keys, values = random_pairs(range(3, 6), 5, 7)
    assert keys.shape == values.shape == (3, 5, 7)
    torch.testing.assert_close(keys.abs().square().sum(-1), torch.ones(3, 5))
    alone, _ = random_pairs(range(4, 5), 5, 7)
    assert torch.equal(keys[1], alone[0])
    assert not torch.equal(keys[0], keys[1])


def test_interference_is_that_of_theory() -> None:
    """|read - value|² is (n - 1) / d in a matrix and n - 2 / (d + 1) in a vector, in the mean.

    In a matrix each of the other n - 1 pairs adds |k_j · k_i|² = 1 / d. In a vector each adds 1, because a spectrum has
    a mean square of 1, and the own one the variance of its power, (d - 1) / (d + 1) for a uniform direction.
    """
    points, _ = measured(head_dims=(16,), associations=(32,), seeds=200, states=tuple(KEEPING))

    def square(state):
        distances = points[state, 16, 32].interference
        return sum(distance**2 for distance in distances) / len(distances)

    assert square(AssociativeMemory.VECTOR) == pytest.approx(32 - 2 / 17, rel=0.02)
    assert square(AssociativeMemory.PAM_K1) == pytest.approx(31 / 16, rel=0.02)
    assert square(AssociativeMemory.REAL_MATRIX) == pytest.approx(31 / 16, rel=0.02)
    assert square(AssociativeMemory.KV_CACHE) == 0


def test_vector_memory_is_circular_convolution_and_correlation() -> None:
    keys, values = random_pairs(range(1), 2, 3)
    state = torch.zeros(3, dtype=torch.complex64)
    for key, value in zip(keys[0], values[0], strict=True):
        for place in range(3):
            state[place] += sum(key[m] * value[(place - m) % 3] for m in range(3))
    expected = torch.stack(
        [torch.stack([sum(key[m].conj() * state[(place + m) % 3] for m in range(3)) for place in range(3)])
         for key in keys[0]]
    )  # fmt: skip
    torch.testing.assert_close(vector_memory(keys, values)[0], expected)


def test_vector_memory_is_that_of_the_layer_but_for_its_scale() -> None:
    keys, values = random_pairs(range(2), 3, 8)
    state = sum(convolved(values[:, None, n], keys[:, None, n]) for n in range(3))
    for n in range(3):
        read = 8 * correlated(state, keys[:, None, n])  # the layer divides by sqrt(d) when it binds and when it reads
        torch.testing.assert_close(vector_memory(keys, values)[:, n], read[:, 0])


@pytest.mark.parametrize("piece", [512, 4])
def test_k_states_are_the_recurrence_read_with_their_phases(piece, monkeypatch) -> None:
    monkeypatch.setattr("pamprof.measure.capacity.memories._PIECE", piece)
    keys, values = random_pairs(range(1), 6, 4)
    decays, phases = (0.9, 0.5, 1.0), (0.0, 1.0, -2.0)
    expected = 0
    for decay, phase in zip(decays, phases, strict=True):
        state = torch.zeros(4, 4, dtype=torch.complex64)
        for key, value in zip(keys[0], values[0], strict=True):
            state = decay * state + torch.outer(value, key.conj())
        expected = expected + complex(cos(phase), sin(phase)) / 3 * state
    found = read_states(write_states(keys, values, decays), keys, phases)
    torch.testing.assert_close(found[0], keys[0] @ expected.T)


def test_initial_decays_are_those_of_the_layer_before_training() -> None:
    protect = 1 / (1 + exp(3))
    expected = [exp(-log1p(exp(-4 + offset))) * (1 - protect) + protect for offset in (-2, 0, 2)]
    assert initial_decays(3) == pytest.approx(expected)
    assert initial_decays(1) == pytest.approx(expected[1:2])


def test_the_published_point_is_found_and_k_states_without_forgetting_add_nothing() -> None:
    points, record = measured()
    share = {state: sum(points[state, 64, 64].correct) / (20 * 64) for state in AssociativeMemory}
    assert share[AssociativeMemory.PAM_K1] == share[AssociativeMemory.KV_CACHE] == 1
    assert share[AssociativeMemory.VECTOR] == pytest.approx(0.13, abs=0.02)
    assert points[AssociativeMemory.PAM_K3, 64, 64].correct == points[AssociativeMemory.PAM_K1, 64, 64].correct
    assert record.left_out == 0
    assert points[AssociativeMemory.PAM_K3_FORGETTING, 64, 64].interference == ()


def test_a_modulus_is_blind_to_a_common_phase_and_the_real_part_is_not() -> None:
    values = torch.eye(2, dtype=torch.complex64)[None]
    turned = 1j * values + 0.1 * values.flip(1)
    assert retrieved(turned, values, RetrievalScore.MODULUS).all()
    assert not retrieved(turned, values, RetrievalScore.ABSOLUTE_REAL).any()


def test_the_threshold_is_searched_and_equal_seeds_give_equal_counts() -> None:
    small = {"head_dims": (8,), "associations": (), "seeds": 4, "states": (AssociativeMemory.VECTOR,)}
    points, record = measured(**small)
    again, _ = measured(**small)
    assert {key: point.correct for key, point in points.items()} == {key: p.correct for key, p in again.items()}
    sizes = [n for _, _, n in points]
    assert {1, 2, 4, 8, 16, 32, 64} <= set(sizes)
    assert sizes == sorted(sizes)
    assert all(len(point.correct) * point.associations >= 1_000 for point in record.points if point.associations < 64)


def test_what_the_time_budget_leaves_out_is_counted() -> None:
    _, record = measured(associations=(2, 4, 8), states=(AssociativeMemory.VECTOR,), time_budget_seconds=1e-9)
    assert [point.associations for point in record.points] == [2]
    assert record.left_out == 2


@pytest.mark.parametrize(
    ("change", "sentence"),
    [({"seeds": 1}, "give 2 or more"), ({"head_dims": (1 << 20,)}, "--head-dim 1048576 cannot be measured; give 1 to")],
)
def test_what_cannot_be_measured_is_refused(change, sentence) -> None:
    with pytest.raises(UsageError, match=sentence):
        measured(**change)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_device_retrieves_what_the_processor_does() -> None:
    small = {"head_dims": (32,), "associations": (8, 64), "seeds": 4}
    here, _ = measured(**small)
    there, _ = measured(**small, device="cuda")
    for key in set(here) & set(there):
        # Scores that nearly tie may fall either way in float32.
        assert sum(there[key].correct) == pytest.approx(sum(here[key].correct), rel=0.01, abs=2), key


@pytest.mark.parametrize("score", RetrievalScore)
def test_readings_are_held_to_all_values_a_few_rows_at_a_time_with_the_same_answer(score, monkeypatch):
    keys, values = random_pairs(range(3), 40, 16)
    answers = []
    for elements in (1 << 22, 500):  # all rows at once, and four
        monkeypatch.setattr("pamprof.measure.capacity.memories.ELEMENTS_AT_ONCE", elements)
        answers.append([retrieved(*read_back(state, keys, values), score) for state in KEEPING])
    for whole, parts in zip(*answers, strict=True):
        assert torch.equal(whole, parts)
    assert not all(bool(found.all()) for found in answers[0])
