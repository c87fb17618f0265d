"""The machine under a measurement: devices, NVML, the host, and what a record says about them."""
