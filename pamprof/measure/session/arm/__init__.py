"""What is measured of one arm."""
