"""The only folder that uses NVML.

Units are converted here: joules, watts, hertz, bytes, ratios 0..1. Function and field names follow the NVML API
reference, https://docs.nvidia.com/deploy/nvml-api/ (read November 2026).
"""
