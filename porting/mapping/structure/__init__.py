"""What a graph computes, free of who wrote it down: a source's and a PyTorch module's alike."""
