"""The pure part: bytes, columns and rules. No Twisted, no store, no clock, no logging; time is an argument."""
