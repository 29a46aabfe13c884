"""What the command line does: asks the API of a collector, and shows what that answers."""
