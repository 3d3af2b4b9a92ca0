"""The HTTP API of contract.md section 4, a module a room."""
