from __future__ import annotations

import pytest

from pamprof.errors import SpecError
from pamprof.pricing.serving.context_table import memory_crossover_tokens, traffic_crossover_tokens

# S: layers x heads x head_dim^2 x 2 reals x 4 bytes. Kappa: keys and values of layers x heads x head_dim x bytes.
PAM_STATE_BYTES = 16 * 6 * 64**2 * 2 * 4
PAM_1B_STATE_BYTES = 24 * 16 * 72**2 * 2 * 4
KAPPA_MHA = 2 * 12 * 672 * 2
KAPPA_GQA_FP8 = 2 * 16 * 8 * 64


def test_the_sizes_of_the_published_pairs_are_reproduced() -> None:
    assert (KAPPA_MHA, PAM_STATE_BYTES, PAM_1B_STATE_BYTES) == (32_256, 3_145_728, 15_925_248)


@pytest.mark.parametrize(
    ("state_bytes", "kappa", "memory", "traffic"),
    [
        (PAM_STATE_BYTES, KAPPA_MHA, 98, 195),
        (PAM_STATE_BYTES, KAPPA_MHA / 2, 195, 390),
        (PAM_STATE_BYTES / 2, KAPPA_MHA, 49, 98),
        (PAM_STATE_BYTES * 3, KAPPA_MHA, 293, 585),
        (PAM_1B_STATE_BYTES, 2 * 24 * 2048 * 2, 81, 162),
        (PAM_1B_STATE_BYTES, 2 * KAPPA_GQA_FP8, 486, 972),
        (PAM_1B_STATE_BYTES, KAPPA_GQA_FP8, 972, 1944),
    ],
)
def test_the_crossover_table_is_reproduced(state_bytes: float, kappa: float, memory: int, traffic: int) -> None:
    assert round(memory_crossover_tokens(state_bytes, kappa)) == memory
    assert round(traffic_crossover_tokens(state_bytes, kappa)) == traffic


def test_sizes_that_cannot_be_are_refused() -> None:
    with pytest.raises(SpecError, match="kv_bytes_per_token 0"):
        memory_crossover_tokens(1, 0)
