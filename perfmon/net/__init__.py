"""Twisted protocols: the two ends of port 9000."""
