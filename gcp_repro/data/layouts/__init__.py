"""One module a data set: pure functions from the files that its distributors wrote to lists of (name, label)."""
