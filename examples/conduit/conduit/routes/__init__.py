"""One module a resource. Routes read, decide, commit, and then forget what they changed."""
