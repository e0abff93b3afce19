"""Sources made in the tests, by code that shares nothing with the readers."""
