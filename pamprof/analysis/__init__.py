"""From raw samples to conclusions: summaries, comparisons, the ladder, crossovers, doubts and the opening sentence."""

from pamprof.analysis.comparison.conclude import analyse
from pamprof.analysis.comparison.narrative import headline

__all__ = ["analyse", "headline"]
