"""The index over HTTP, and the search page. No torch."""
