"""A comparison on several machines: groups as tasks of Ray or Slurm, streamed into one file of records."""
