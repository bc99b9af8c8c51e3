"""Brain data of a BIDS data set: runs, confounds, and responses estimated from their time series."""
