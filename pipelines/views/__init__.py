"""Multi-view testing of encoders with a head."""
