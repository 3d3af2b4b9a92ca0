"""What rolls V2 back by itself: a detector and rules that are pure, and the watch that acts on them once."""
