"""How many random associations a memory holds."""
