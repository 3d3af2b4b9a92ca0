"""Server-rendered pages. Every one works without JavaScript."""
