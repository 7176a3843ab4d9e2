"""Remote shards: their formats, what each holds, an epoch's order, reading in that order, and the data module."""
