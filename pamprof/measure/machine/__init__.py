"""What the machine does and can do: ceilings, noise floor, utilisation, energy, kernel time, and what can be read."""
