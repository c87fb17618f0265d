"""What measured retrieval says of how much a memory holds."""
