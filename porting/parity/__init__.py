"""Two runs set side by side, tap by tap, with a measured tolerance."""
