"""Faults that real price lists contain, each found by its own rule and told in one sentence.

A fault makes a row unfit for any report; age, which only makes it doubtful, is judged in ``pamprof.pricing.rates.age``.
"""

from __future__ import annotations

import re
from collections import defaultdict
from decimal import Decimal
from statistics import median_high
from typing import TYPE_CHECKING

from pamprof.devices.names import canonical_device, find_device, one_of, variants_of
from pamprof.devices.parts import part_named
from pamprof.errors import PriceError
from pamprof.pricing.rates.age import ages
from pamprof.pricing.rates.findings import Finding, Rule, Severity, subject_of
from pamprof.pricing.rates.instance_names import (
    device_count_in_name,
    is_gpu_machine,
    is_part_of_device,
    vcpu_count_in_name,
)
from pamprof.pricing.rates.processors import is_cpu_machine

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import date

    from pamprof.pricing.rates.catalogue import Catalogue
    from pamprof.records import Price

# On-demand rates AWS announced as cut in June 2025, USD per hour in us-east-1: (before, after).
_SUPERSEDED: dict[tuple[str, str], tuple[Decimal, Decimal]] = {
    ("aws", "p4d.24xlarge"): (Decimal("32.77"), Decimal("21.96")),
    ("aws", "p5.48xlarge"): (Decimal("98.32"), Decimal("55.04")),
}
# Others (sa-east-1) cost as much after the cut as these before it.
_SUPERSEDED_REGIONS = frozenset({"us-east-1", "us-east-2", "us-west-2", "unspecified"})
# Device counts of machines that providers rent; a count outside is believed only where the machine's name says it.
_RENTED_COUNTS = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 10, 16, 32, 36, 64, 72})
# Regions of one machine differ by tens of percent; a factor of two is another machine's rate.
_REGION_SPREAD = 2
_MEMORY_TOLERANCE = 0.1


def check(catalogue: Catalogue, today: date, strict: bool = False) -> tuple[Finding, ...]:
    """Every fault of the rows, then the age of each provider's rows as seen on ``today``."""
    return validate(catalogue.prices) + ages(catalogue.prices, today, strict=strict)


def validate(prices: tuple[Price, ...]) -> tuple[Finding, ...]:
    """The faults of a list of rates, whatever their age, in the order of the rows and rules."""
    row_rules = (_no_price, _split_machine, _wrong_count, _superseded, _wrong_device, _part_of_board, _open_board)
    return tuple(
        [finding for price in prices for rule in row_rules for finding in rule(price)]
        + [
            finding
            for list_rule in (_spot, _split_rows, _conflicts, _regions, _not_scaled)
            for finding in list_rule(prices)
        ]
    )


def refuse_faults(prices: tuple[Price, ...], *, name: str) -> None:
    """Raise ``PriceError`` with the first fault of a list, its rule and the number of the others."""
    failures = [finding for finding in validate(prices) if finding.severity is Severity.FAILURE]
    if failures:
        first = failures[0]
        others = {1: "", 2: " (and 1 more fault)"}.get(len(failures), f" (and {len(failures) - 1} more faults)")
        raise PriceError(
            f"{name} holds a rate that cannot be true ({first.rule}): {first.subject}: {first.sentence.rstrip('.')}"
            f"{others}; `pamprof prices check --prices FILE` lists all"
        )


def _failure(rule: Rule, price: Price, sentence: str) -> Finding:
    return Finding(severity=Severity.FAILURE, rule=rule, subject=subject_of(price), sentence=sentence)


def _no_price(price: Price) -> Iterator[Finding]:
    if not price.usd_per_hour.is_finite() or price.usd_per_hour <= 0:
        sentence = f"A rate of {price.usd_per_hour} USD per hour stands for an unknown price; leave the row out."
        yield _failure(Rule.NO_PRICE, price, sentence)


def _split_machine(price: Price) -> Iterator[Finding]:
    words = f"{price.instance} {price.purchase_option}".lower()
    if not price.instance.strip() or "accelerator" in words or "host only" in words or "part only" in words:
        sentence = (
            f"{price.usd_per_hour} USD per hour is for the device without its host, or the host without its device; "
            "add the two rates into one row."
        )
        yield _failure(Rule.SPLIT_MACHINE, price, sentence)
    elif is_cpu_machine(price) and is_gpu_machine(price.provider, price.instance):
        sentence = (
            f"{price.instance} carries GPUs, so a CPU rate of it is the host's part alone; add the devices' rate."
        )
        yield _failure(Rule.SPLIT_MACHINE, price, sentence)


def _wrong_count(price: Price) -> Iterator[Finding]:
    if is_cpu_machine(price):
        yield from _wrong_vcpus(price)
        return
    told = device_count_in_name(price.provider, price.instance)
    if told is not None and told != price.device_count:
        sentence = (
            f"The row lists {price.device_count} devices and the machine's name says {told}, which changes the rate of "
            f"one device by a factor of {price.device_count / told:.3g}; correct the count."
        )
        yield _failure(Rule.WRONG_DEVICE_COUNT, price, sentence)
    elif told is None and price.device_count not in _RENTED_COUNTS:
        sentence = f"No machine is known that is rented with {price.device_count} devices; check the count."
        yield _failure(Rule.WRONG_DEVICE_COUNT, price, sentence)


def _wrong_vcpus(price: Price) -> Iterator[Finding]:
    told = vcpu_count_in_name(price.provider, price.instance)
    if price.device_count != 1:
        sentence = f"A machine without GPUs is listed with {price.device_count} devices; write 1, and its vcpu_count."
        yield _failure(Rule.WRONG_DEVICE_COUNT, price, sentence)
    if None not in (told, price.vcpu_count) and told != price.vcpu_count:
        sentence = (
            f"The row lists {price.vcpu_count} vCPUs and the machine's name says {told}, which changes the rate of one "
            "by as much; correct vcpu_count."
        )
        yield _failure(Rule.WRONG_VCPU_COUNT, price, sentence)


def _superseded(price: Price) -> Iterator[Finding]:
    rates = _SUPERSEDED.get((price.provider, price.instance))
    if rates is None or price.purchase_option != "on-demand" or price.region.split("/")[0] not in _SUPERSEDED_REGIONS:
        return
    before, after = rates
    if price.usd_per_hour >= before * Decimal("0.99"):
        sentence = (
            f"{price.usd_per_hour} USD per hour is the rate from before June 2025, when it fell from {before} to "
            f"{after}, by {float(1 - after / before):.0%}; use today's rate."
        )
        yield _failure(Rule.SUPERSEDED, price, sentence)


def _wrong_device(price: Price) -> Iterator[Finding]:
    if price.device_name == "A10G" and not (price.provider == "aws" and price.instance.startswith("g5.")):
        sentence = "The A10G is rented in AWS g5 machines alone; elsewhere it is the A10, a faster device; rename it."
        yield _failure(Rule.WRONG_DEVICE, price, sentence)
    device = find_device(price.device_name)
    listed = price.device_memory_gib
    if device is None or listed is None:
        return
    nominal = device.memory_gib
    if abs(listed - nominal) > _MEMORY_TOLERANCE * nominal:
        half = device.die_count == 2 and abs(2 * listed - nominal) <= _MEMORY_TOLERANCE * nominal
        cause = "one of its two dies" if half else "another device"
        sentence = f"{listed} GiB is the memory of {cause}; {price.device_name} has {nominal}; correct name or memory."
        yield _failure(Rule.WRONG_MEMORY, price, sentence)


def _part_of_board(price: Price) -> Iterator[Finding]:
    if is_cpu_machine(price) or part_named(price.device_name) is not None:
        return
    if is_part_of_device(price.provider, price.instance):
        sentence = (
            f"{price.instance} holds a part of a device and the row names a whole {price.device_name}; name the part, "
            f"such as '{price.device_name} MIG 1g.10gb', or leave the row out."
        )
        yield _failure(Rule.PART_OF_DEVICE, price, sentence)


def _open_board(price: Price) -> Iterator[Finding]:
    variants = () if canonical_device(price.device_name) is not None else variants_of(price.device_name)
    if len(variants) > 1:
        sentence = (
            f"{price.device_name} is rented as {one_of(variants)}, so no measured device has this rate; name one."
        )
        yield Finding(severity=Severity.WARNING, rule=Rule.OPEN_BOARD, subject=subject_of(price), sentence=sentence)


def _groups(prices: Iterable[Price], *, by_option: bool) -> dict[tuple[str, ...], list[Price]]:
    """Rows of one machine in one region (zones joined), and of one purchase option where asked."""
    groups: dict[tuple[str, ...], list[Price]] = defaultdict(list)
    for price in prices:
        key = (price.provider, price.instance, price.region.split("/")[0])
        groups[(*key, price.purchase_option) if by_option else key].append(price)
    return groups


def _spot(prices: tuple[Price, ...]) -> Iterator[Finding]:
    for rows in _groups(prices, by_option=False).values():
        on_demand = [row.usd_per_device_hour for row in rows if row.purchase_option == "on-demand"]
        for row in rows:
            if on_demand and row.purchase_option == "spot" and row.usd_per_device_hour > max(on_demand):
                sentence = (
                    f"Spot at {row.usd_per_device_hour:.4g} USD per device-hour is above on-demand at "
                    f"{max(on_demand):.4g}; the two columns are probably swapped."
                )
                yield _failure(Rule.SPOT_ABOVE_ON_DEMAND, row, sentence)


def _split_rows(prices: tuple[Price, ...]) -> Iterator[Finding]:
    for rows in _groups(prices, by_option=True).values():
        hosts = [row for row in rows if is_cpu_machine(row)]
        devices = [row for row in rows if not is_cpu_machine(row)]
        if hosts and devices:
            for row in rows:
                sentence = (
                    f"Host ({hosts[0].usd_per_hour}) and device ({devices[0].usd_per_hour}) of one machine are priced "
                    "in separate rows, so either alone is too cheap; add them into one row."
                )
                yield _failure(Rule.SPLIT_MACHINE, row, sentence)


def _conflicts(prices: tuple[Price, ...]) -> Iterator[Finding]:
    for key, rows in _groups(prices, by_option=True).items():
        rates = sorted({row.usd_per_hour for row in rows if row.purchase_option == "on-demand"})
        if key[-1] == "on-demand" and len(rates) > 1 and len({row.device_name for row in rows}) == 1:
            sentence = f"One machine is listed at {rates[0]} and at {rates[-1]} USD per hour; keep the newer rate."
            yield _failure(Rule.CONFLICTING_RATES, rows[0], sentence)


def _regions(prices: tuple[Price, ...]) -> Iterator[Finding]:
    machines: dict[tuple[str, str, str], list[Price]] = defaultdict(list)
    for price in prices:
        if price.purchase_option == "on-demand" and price.usd_per_hour > 0:
            machines[price.provider, price.instance, price.device_name].append(price)
    for rows in machines.values():
        # The higher of the middle two, so that of two regions the cheaper one is doubted: bills surprise upwards.
        usual = median_high(row.usd_per_hour for row in rows)
        for row in rows:
            factor = max(usual / row.usd_per_hour, row.usd_per_hour / usual)
            if factor > _REGION_SPREAD:
                sentence = (
                    f"{row.usd_per_hour} USD per hour is {factor:.2g} times off the same machine's usual rate in other "
                    f"regions ({usual}); probably another product's rate was picked."
                )
                yield _failure(Rule.OUT_OF_LINE_REGION, row, sentence)


def _not_scaled(prices: tuple[Price, ...]) -> Iterator[Finding]:
    """One price for several counts of a device: in a family of machines, or at three counts whatever their names."""
    offers: dict[tuple[str, str, str, str, Decimal], list[Price]] = defaultdict(list)
    for price in prices:
        if not is_cpu_machine(price) and price.usd_per_hour > 0:
            key = (price.provider, price.region, price.purchase_option, price.device_name, price.usd_per_hour)
            offers[key].append(price)
    for rows in offers.values():
        families: dict[str, set[int]] = defaultdict(set)
        for row in rows:
            families[re.sub(r"\d+", "#", row.instance)].add(row.device_count)
        counts = sorted({row.device_count for row in rows})
        if len(counts) < 3:
            counts = max((sorted(found) for found in families.values()), key=len)
        if len(counts) > 1:
            sentence = (
                f"{rows[0].usd_per_hour} USD per hour stands at machines with {', '.join(map(str, counts))} devices; "
                "one machine's rate was probably copied, or a rate per device not multiplied: usd_per_hour is for all."
            )
            yield _failure(Rule.NOT_SCALED, next(row for row in rows if row.device_count == counts[-1]), sentence)
