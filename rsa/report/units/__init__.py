"""Pictures and page sections of what the units of a network see."""
