"""What a device does with single kernels: the file of ``pamprof calibrate``."""
