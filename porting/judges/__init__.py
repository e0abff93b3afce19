"""Whatever runs the TensorFlow side for real. Knows sources; knows neither mapping nor torch."""
