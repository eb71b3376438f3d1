"""Many replicas of a stage as one: who is there, where a session goes, what when one is lost."""
