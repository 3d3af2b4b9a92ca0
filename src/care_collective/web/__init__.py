"""HTTP: the API and the pages. A handler parses, makes one call and renders."""
