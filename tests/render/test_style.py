from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from pamprof.render import arms
from pamprof.render.plots.style import DARK, LIGHT, _inline, _plain_tag

ARM_ROLES = [role for role, _ in (arms._REFERENCE, arms._TWIN, arms._PUBLISHED, *arms._PLAIN, arms._KERNELS)]

# Machado, Oliveira and Fernandes (2009), severity 1.0, on linear RGB.
_DEFICIENCIES = {
    "none": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}


def linear(colour: str) -> np.ndarray:
    values = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def contrast(first: str, second: str) -> float:
    low, high = sorted(float(linear(c) @ [0.2126, 0.7152, 0.0722]) for c in (first, second))
    return (high + 0.05) / (low + 0.05)


def lab(rgb: np.ndarray) -> np.ndarray:
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ np.clip(rgb, 0, 1) / [0.95047, 1, 1.08883]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_text_has_a_contrast_of_four_and_a_half(theme):
    for role in ("ink", "muted"):
        assert contrast(theme[role], theme["paper"]) >= 4.5
        assert contrast(theme[role], theme["band"]) >= 4.5


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_marks_have_a_contrast_of_three(theme):
    for role in ARM_ROLES:
        assert contrast(theme[role], theme["paper"]) >= 3


@pytest.mark.parametrize("deficiency", sorted(_DEFICIENCIES))
@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_arms_stay_apart_for_every_reader(theme, deficiency):
    matrix = _DEFICIENCIES[deficiency]
    for first, second in combinations(ARM_ROLES, 2):
        distance = np.linalg.norm(lab(matrix @ linear(theme[first])) - lab(matrix @ linear(theme[second])))
        assert distance > 10, (first, second)


def test_improvements_get_darker_towards_the_kernels():
    lightness = [lab(linear(LIGHT[role]))[0] for role in ("published", "plain1", "plain2", "kernels")]
    assert lightness == sorted(lightness, reverse=True)


def test_roles_have_colours_of_their_own_in_both_themes():
    assert LIGHT.keys() == DARK.keys()
    assert len(set(LIGHT.values())) == len(LIGHT)


@pytest.mark.parametrize(
    ("tag", "plain"),
    [
        (
            '<path d="M0 0" style="fill: none; stroke: #1b2026; stroke-width: 0.8; stroke-linejoin: miter"/>',
            '<path d="M0 0" fill="none" stroke="var(--ink,#1b2026)" stroke-width="0.8" stroke-linejoin="miter"/>',
        ),
        (
            "<text style=\"font-size: 8.5px; font-family: 'DejaVu Sans', sans-serif; text-anchor: middle\">",
            '<text font-size="8.5px" text-anchor="middle">',
        ),
        (
            "<text style=\"font: 700 8.5px 'DejaVu Sans', sans-serif; text-anchor: start; fill: #59636e\">",
            '<text font-weight="700" font-size="8.5px" fill="var(--muted,#59636e)">',
        ),
        ("<text style=\"font: 9px 'DejaVu Sans'\">", '<text font-size="9px">'),
        ('<use href="#m" style="stroke: #123456; stroke-linejoin: miter"/>', '<use href="#m" stroke="#123456"/>'),
    ],
)
def test_declarations_become_presentation_attributes(tag, plain):
    assert _plain_tag(tag) == plain


def test_a_label_that_looks_like_markup_is_left_as_it_is():
    label = '#1b2026 style="fill: red" 1.2345'
    assert f">{label}</text>" in _inline(
        f'<svg width="1" height="1"><text style="fill: #1b2026">{label}</text></svg>', "a"
    )
