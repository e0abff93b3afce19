"""Sources for the tests, made by code that shares nothing with the readers."""
