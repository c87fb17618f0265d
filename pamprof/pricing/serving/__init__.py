"""From a serving curve, a demand and hourly rates to replicas, bills, decisions and sensitivities."""
