"""How many images a network gets right, and where the data for that come from."""
