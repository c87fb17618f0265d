"""What a plot shows, as plain numbers and words; ``pamprof.render.plots`` draws it."""
