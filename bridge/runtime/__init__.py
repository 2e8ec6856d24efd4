"""What runs the bridge: the web server's entry, its threads and its limits."""
