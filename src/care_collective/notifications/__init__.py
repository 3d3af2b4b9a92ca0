"""What members are told of: hints of what changed, relayed from the outbox, and the live streams that they wake."""
