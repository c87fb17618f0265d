"""What is measured: layers found through one registry, matched in size, built and run as one step.

Nothing is imported here: ``registry`` and ``matching`` work without torch until a layer is asked for.
"""
