"""Names of the FinOps Open Cost and Usage Specification (FOCUS 1.x, focus.finops.org) for what a rate is."""

from __future__ import annotations

STANDARD = "Standard"
DYNAMIC = "Dynamic"
COMMITTED = "Committed"
OTHER = "Other"


def pricing_category(purchase_option: str) -> str:
    """FOCUS PricingCategory of a purchase option: Standard, Dynamic (spot), Committed or Other."""
    if purchase_option == "on-demand":
        return STANDARD
    if purchase_option == "spot":
        return DYNAMIC
    return COMMITTED if purchase_option.startswith(("reserved", "committed")) else OTHER
