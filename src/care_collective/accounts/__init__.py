"""Who somebody is: passwords, tokens and sessions. What a person may do is decided in SQL, not here."""
