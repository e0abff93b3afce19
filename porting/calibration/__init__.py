"""Batch norms with statistics of real images, for sources that have theirs folded away."""
