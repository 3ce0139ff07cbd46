"""Metrics of all processes of a host: counted in shared files, looked up in the stores at a scrape."""
