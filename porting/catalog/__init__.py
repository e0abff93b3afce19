"""Google's published sources as data, and how they come to this machine."""

from porting.catalog.published import CATALOG, CatalogEntry, find_entry

__all__ = ["CATALOG", "CatalogEntry", "find_entry"]
