"""Telling other processes that there is work, and hearing it from them."""
