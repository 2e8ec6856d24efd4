"""The REST API `/api/v1/`: thin edges that read the rows and call the pipeline. One module for each kind of row."""
