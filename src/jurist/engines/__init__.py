"""Where tokens come from: one query in, one completion out; a failure is a completion."""
