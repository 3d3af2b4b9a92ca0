"""Help requests: ask, browse, change, end."""
