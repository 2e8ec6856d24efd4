"""The web server: requests, pools of threads, Django's pages."""
