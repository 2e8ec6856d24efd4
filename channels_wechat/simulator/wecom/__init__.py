"""The simulated WeCom."""
