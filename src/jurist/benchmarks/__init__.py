"""Cases of public benchmarks, and scorecards as the official code counts."""
