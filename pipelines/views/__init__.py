"""Multi-view testing of encoders with a head: from a manifest to top-1, top-5 and what was published beside them."""
