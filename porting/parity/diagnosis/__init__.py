"""What makes a port disagree with its source: causes, named where a mended copy proves them."""
