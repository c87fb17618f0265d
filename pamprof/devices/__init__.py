"""The table of devices: one row of ``devices.csv`` holds all that is known of one GPU."""
