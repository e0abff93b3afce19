"""Official sources as data, and how they come to this machine."""

from porting.catalog.entry import CatalogEntry
from porting.catalog.registry import CATALOG, find_entry

__all__ = ["CATALOG", "CatalogEntry", "find_entry"]
