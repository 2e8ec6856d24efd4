"""The web server: requests, thread pools, Django's pages."""
