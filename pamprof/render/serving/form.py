"""The inputs of the cost page: the place of each number in a scenario, its unit and its bounds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One input of the form.

    Attributes:
        name: In the form and in the page's link.
        part, key: Place in the scenario.
        divisor: Of the form's number: 1000 turns milliseconds into seconds, 100 percent into a share.
        least, most: Bounds in the form's unit.
        whole: Whole numbers only.
    """

    name: str
    part: str
    key: str | int
    divisor: int = 1
    least: float = 0
    most: float = 1e9
    whole: bool = False


FIELDS = (
    Field(name="tokens_per_day", part="demand", key="tokens_per_day", least=1, most=1e18),
    Field(name="input_tokens", part="demand", key="input_tokens", most=1e8, whole=True),
    Field(name="output_tokens", part="demand", key="output_tokens", least=1, most=1e8, whole=True),
    Field(name="peak", part="demand", key="peak_factor", least=1, most=1e6),
    Field(name="duty", part="demand", key="duty", divisor=100, least=1e-6, most=100),
    Field(name="minimum_replicas", part="demand", key="minimum_replicas", least=1, most=1e6, whole=True),
    Field(
        name="milliseconds_per_output_token", part="limits", key="seconds_per_output_token", divisor=1000, least=1e-6
    ),
    Field(name="seconds_to_first_token", part="limits", key="seconds_to_first_token", least=1e-9),
    Field(name="price", part="rate", key="usd_per_hour", least=1e-9),
    Field(name="capex", part="owned", key="capital_usd", least=1e-9, most=1e12),
    Field(name="life", part="owned", key="life_years", least=1e-6, most=1e3),
    Field(name="electricity", part="owned", key="usd_per_kilowatt_hour", most=1e6),
    Field(name="pue", part="owned", key="power_usage_effectiveness", least=1, most=100),
    Field(name="watts", part="owned", key="watts"),
    Field(name="api_input", part="api", key=0),
    Field(name="api_output", part="api", key=1),
)
# A larger bound is too large to be told to a reader who exceeded it.
LARGEST_BOUND_TOLD = 1e6
