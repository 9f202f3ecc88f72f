"""Clips of a video: which frames they hold, how frames are prepared."""
