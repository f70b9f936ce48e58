"""From recordings and BIDS data sets to a store of windows."""
