"""Starting and supervising the processes of `make run` and `make demo`."""
