"""The gateway: sessions, clock, credits and events."""
