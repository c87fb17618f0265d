"""Ground truth: the tool's own counts against hardware counters, allocators, sensors and loads known beforehand."""
