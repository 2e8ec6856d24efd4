"""Text made fit for a platform."""
