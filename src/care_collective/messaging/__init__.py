"""Conversations: two engines that open them, one facade over both."""
