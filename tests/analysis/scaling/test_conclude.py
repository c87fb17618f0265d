"""Speed-up, efficiency, messages and energy of a hand-made point that two ranks shared."""

from dataclasses import replace

import pytest

from pamprof.analysis.scaling.conclude import scaling_points
from pamprof.records import Energy
from tests.synthetic import ranked_run


def with_energy(run, *joules, valid=True):
    def monitor(value):
        reasons = () if valid else ("the window of 1.00 s is shorter than 2 s",)
        energy = Energy(
            counter_joules=value, integrated_joules=value, counter_updates=30, valid=valid, invalid_reasons=reasons
        )
        return replace(run.ranks[0].monitor, steps=10, energy=energy)

    ranks = tuple(replace(rank, monitor=monitor(value)) for rank, value in zip(run.ranks, joules, strict=True))
    return replace(run, ranks=ranks)


class TestScaling:
    def test_weak_scaling_counts_the_tokens_of_all_ranks(self):
        # Twice the tokens in 1.25 times the time: 1.6 times as fast, an efficiency of 80 %.
        (point,) = scaling_points([ranked_run(seconds=1.25, alone_seconds=1.0, batch_size=6, alone_batch_size=3)])
        assert point.run.scales_weakly
        assert point.speed_up.median == pytest.approx(1.6)
        assert point.efficiency.median == pytest.approx(0.8)
        assert point.tokens_per_second.median == pytest.approx(6 * 2048 / 1.25)

    def test_strong_scaling_shares_the_step(self):
        (point,) = scaling_points([ranked_run(seconds=0.625, alone_seconds=1.0, batch_size=4, alone_batch_size=4)])
        assert not point.run.scales_weakly
        assert point.speed_up.median == pytest.approx(1.6)

    def test_a_point_measured_again_counts_once(self):
        first = ranked_run(seconds=1.0, alone_seconds=1.0, batch_size=4, alone_batch_size=4)
        again = replace(first, wall_time_seconds=(2.0,) * 8, started_at="2026-11-23T12:00:00+00:00")
        (point,) = scaling_points([first, again])
        assert point.step_seconds.median == 2.0


class TestMessages:
    def test_a_ring_sends_twice_the_share_of_the_others_of_an_all_reduce(self):
        # 400 MB among two ranks: each sends 400 MB; in 1 ms of a step of 10 ms, a quarter of it exposed.
        (point,) = scaling_points(
            [ranked_run(seconds=0.010, message_bytes=400_000_000, under_way=0.001, exposed=0.00025)]
        )
        assert point.sent_bytes == 400_000_000
        assert point.sent_bytes_per_second == pytest.approx(400e9)
        assert point.communication_ratio == pytest.approx(0.1)
        assert point.exposed_ratio == pytest.approx(0.025)

    def test_the_slowest_rank_over_the_fastest(self):
        run = ranked_run(seconds=1.0)
        slow = replace(run.ranks[1], wall_time_seconds=(1.2,) * 8)
        (point,) = scaling_points([replace(run, ranks=(run.ranks[0], slow))])
        assert point.imbalance == pytest.approx(1.2)


class TestEnergy:
    def test_joules_of_all_devices_by_the_steps_that_each_ran(self):
        # 100 J and 60 J over 10 steps each, of 4 x 2,048 tokens: 16 J a step.
        (point,) = scaling_points([with_energy(ranked_run(batch_size=4, alone_batch_size=4), 100.0, 60.0)])
        assert point.joules_per_token == pytest.approx(16 / (4 * 2048))

    def test_one_device_without_a_valid_energy_leaves_none(self):
        (point,) = scaling_points([with_energy(ranked_run(), 100.0, 60.0, valid=False)])
        assert point.joules_per_token is None
        assert point.energy_reason == "rank 0: the window of 1.00 s is shorter than 2 s"
