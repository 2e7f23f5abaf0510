"""What every other room uses: types, errors, files, statistics, the store of a run."""
