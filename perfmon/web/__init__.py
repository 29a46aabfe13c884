"""The HTTP side of the collector: JSON API and page."""
