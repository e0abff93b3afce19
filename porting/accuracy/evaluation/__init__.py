"""Evaluate judge and port on the same labelled images."""
