"""A network's TensorFlow graph, built from its description under Google's names."""
