"""Data sets of short labelled clips: Kinetics, Something-Something v2, UCF101, HMDB51, Diving48.

In every manifest `label` is the class number that published weights use, and `label_names` holds its name.
"""
