"""The chunk-parallel recurrence over real planes, of one state a head or several."""
