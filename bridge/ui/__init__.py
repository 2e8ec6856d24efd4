"""How values are shown on pages, and how lists are searched."""
