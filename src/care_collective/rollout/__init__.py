"""Who opens new conversations in V2: the stages, the switch, the counts and the guard that rolls back."""
