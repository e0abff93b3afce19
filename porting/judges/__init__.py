"""What runs the TensorFlow side for real. It knows sources, and neither mapping nor torch."""
