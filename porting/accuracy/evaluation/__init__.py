"""Judge and port on the same labelled images: batches, workers, journal, ranks, figures."""
