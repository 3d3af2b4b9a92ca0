"""The seam between Python and PostgreSQL: the server, the pool, calls, migrations. No business words here."""
