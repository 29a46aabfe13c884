"""The store behind the collector: keys, connections, commands. The only importer of txredisapi."""
