"""The tests; a package, so that they share what they build sources with."""
