"""What an operator does: start, examine, look after members and communities. Knows no screen and no HTTP."""
